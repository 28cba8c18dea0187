//! Tests that compare random histories with a plain list of grants.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Submit {
        sources: Vec<usize>,
        any: bool,
        seconds: u64,
    },
    Revoke(prop::sample::Index),
    RevokeAll,
    /// Time passes, in seconds. The second field says whether the agent sweeps afterwards.
    Pass(u64, bool),
    Restart,
    /// The host reboots and is down for this many seconds.
    Reboot(u64),
}

const SOURCES: [&str; 6] = ["192.0.2.1", "192.0.2.0/24", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "2001:db8::/32"];
const PROBES: [&str; 7] = ["192.0.2.1", "192.0.2.2", "10.1.2.3", "10.1.2.4", "10.2.0.1", "2001:db8::1", "198.51.100.1"];

fn any_step() -> impl Strategy<Value = Step> {
    let sources = prop::collection::vec(0..SOURCES.len(), 1..4);
    prop_oneof![
        6 => (sources, any::<bool>(), 1_u64..600)
            .prop_map(|(sources, any, seconds)| Step::Submit { sources, any, seconds }),
        3 => any::<prop::sample::Index>().prop_map(Step::Revoke),
        1 => Just(Step::RevokeAll),
        4 => (0_u64..200, any::<bool>()).prop_map(|(seconds, sweeps)| Step::Pass(seconds, sweeps)),
        2 => Just(Step::Restart),
        2 => (0_u64..200).prop_map(Step::Reboot),
    ]
}

/// A grant in the plain list. The grant's end is in seconds of a clock that never stops.
#[derive(Clone, Debug)]
struct Noted {
    id: GrantId,
    number: u16,
    source: ipnet::IpNet,
    end: u64,
}

struct Model {
    world: World,
    grants: Vec<Noted>,
    now: u64,
}

impl Model {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Submit { sources, any, seconds } => {
                let sources: Vec<&str> = sources.iter().map(|index| SOURCES[*index]).collect();
                let number = if *any { 3389 } else { 22 };
                let done = self.world.submit(vec![port(number.into(), &sources, *seconds)]).unwrap();
                let end = self.now + seconds;
                self.grants.extend(done.grants.iter().map(|grant| Noted {
                    id: grant.id,
                    number,
                    source: grant.source,
                    end,
                }));
            }
            Step::Revoke(index) if !self.grants.is_empty() => {
                let grant = self.grants.swap_remove(index.index(self.grants.len()));
                assert!(self.world.revoke(&Selection::Ids(vec![grant.id])).durable);
            }
            Step::Revoke(_) => {}
            Step::RevokeAll => {
                self.grants.clear();
                assert!(self.world.revoke(&Selection::All).durable);
            }
            Step::Pass(seconds, sweeps) => {
                self.now += seconds;
                self.world.clock.advance(secs(*seconds));
                if *sweeps {
                    self.world.core().sweep();
                }
            }
            Step::Restart => self.world.restart(),
            Step::Reboot(down) => {
                self.now += down;
                let wall = self.world.clock.wall().saturating_add(secs(*down)).unwrap();
                self.world.reboot(wall);
            }
        }
        self.check();
    }

    fn check(&mut self) {
        let now = self.now;
        for number in [22, 3389] {
            for source in PROBES {
                let address: IpAddr = source.parse().unwrap();
                let expected = self
                    .grants
                    .iter()
                    .any(|grant| grant.number == number && grant.source.contains(&address) && now < grant.end);
                assert_eq!(self.world.admits(number, source), expected, "{number} from {source}: {:?}", self.grants);
            }
        }
        let mut live: Vec<i64> = self.grants.iter().filter(|grant| now < grant.end).map(|grant| grant.id.0).collect();
        live.sort_unstable();
        assert_eq!(self.world.live(), live);
        assert_eq!(self.world.faults(), Vec::<String>::new());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn packets_pass_exactly_by_the_live_grants_whatever_happens(steps in prop::collection::vec(any_step(), 1..25)) {
        let mut model = Model { world: World::new(), grants: Vec::new(), now: 0 };
        for step in &steps {
            model.take(step);
        }
    }
}

//! What each person may write into the store. So nobody decides how fast the log and the disk grow.

use std::{collections::BTreeMap, time::Duration};

use jit_policy::BootTime;

use crate::core::refusal::Refusal;

/// The bytes that a person may write at once after a pause, and in a day.
const PERSON: Rate = Rate { at_once: 262_144.0, a_day: 8_388_608.0 };
/// The bytes of a delegate, who asks for many persons.
const DELEGATE: Rate = Rate { at_once: 8_388_608.0, a_day: 268_435_456.0 };
/// The number of persons who are known before those with a full budget are forgotten.
const TRACKED: usize = 1024;
/// A day, in seconds.
const DAY: f64 = 86_400.0;

/// The bytes of a request in the log and in the store, besides its text.
pub(in super::super) const REQUEST: usize = 700;
/// The bytes of a grant: its row, and the rows about its beginning, its connections and its end, whoever ends it.
pub(in super::super) const GRANT: usize = 2048;
/// The bytes of one more end of a grant.
pub(in super::super) const EXTENSION: usize = 700;

#[derive(Clone, Copy, Debug)]
struct Rate {
    at_once: f64,
    a_day: f64,
}

/// Who pays for what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Payer {
    /// Root and admins.
    Unlimited,
    /// A person with a role.
    Person(u32),
    /// A delegate.
    Delegate(u32),
}

impl Payer {
    const fn rate(self) -> Option<Rate> {
        match self {
            Self::Unlimited => None,
            Self::Person(_) => Some(PERSON),
            Self::Delegate(_) => Some(DELEGATE),
        }
    }
}

/// The bytes that a person may still write. They come back with time. Who opens much at once may owe some.
#[derive(Clone, Copy, Debug)]
struct Budget {
    left: f64,
    at: BootTime,
}

impl Budget {
    fn refill(&mut self, rate: Rate, now: BootTime) {
        let back = now.since(self.at).as_secs_f64() * rate.a_day / DAY;
        *self = Self { left: (self.left + back).min(rate.at_once), at: now };
    }
}

/// The budgets of all persons.
#[derive(Debug, Default)]
pub(in super::super) struct Budgets(BTreeMap<Payer, Budget>);

impl Budgets {
    /// Returns a refusal if a person has written what they may write for now.
    pub(in super::super) fn check(&mut self, payer: Payer, now: BootTime) -> Result<(), Refusal> {
        let Some((budget, rate)) = self.budget(payer, now) else { return Ok(()) };
        if budget.left > 0.0 {
            return Ok(());
        }
        // A second more, so that whoever waits so long is let in.
        let seconds = 1.0 + (-budget.left * DAY / rate.a_day).ceil();
        Err(Refusal::OverBudget { wait: Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX) })
    }

    /// Takes bytes from a person's budget. The person may owe them.
    pub(in super::super) fn charge(&mut self, payer: Payer, bytes: usize, now: BootTime) {
        if let Some((budget, _)) = self.budget(payer, now) {
            budget.left -= bytes as f64;
        }
    }

    /// Takes bytes from a person's budget if it has so many. Returns whether it had.
    pub(in super::super) fn afford(&mut self, payer: Payer, bytes: usize, now: BootTime) -> bool {
        let left = self.budget(payer, now).map(|(budget, _)| budget.left);
        let has = left.is_none_or(|left| left >= bytes as f64);
        if has {
            self.charge(payer, bytes, now);
        }
        has
    }

    fn budget(&mut self, payer: Payer, now: BootTime) -> Option<(&mut Budget, Rate)> {
        let rate = payer.rate()?;
        if self.0.len() >= TRACKED && !self.0.contains_key(&payer) {
            self.0.retain(|payer, budget| {
                let Some(rate) = payer.rate() else { return false };
                budget.refill(rate, now);
                budget.left < rate.at_once
            });
        }
        let budget = self.0.entry(payer).or_insert(Budget { left: rate.at_once, at: now });
        budget.refill(rate, now);
        Some((budget, rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_with_time_and_one_person_does_not_pay_for_another() {
        let mut budgets = Budgets::default();
        let start = BootTime(5_000_000_000);
        let (alice, bob) = (Payer::Person(1000), Payer::Person(1001));
        budgets.charge(alice, (PERSON.at_once + PERSON.a_day) as usize, start);
        let Err(Refusal::OverBudget { wait }) = budgets.check(alice, start) else { panic!() };
        assert_eq!(wait.as_secs(), 86_401);
        assert_eq!((budgets.check(bob, start), budgets.check(Payer::Unlimited, start)), (Ok(()), Ok(())));
        assert!(budgets.check(alice, start.after(wait - Duration::from_secs(2))).is_err());
        assert_eq!(budgets.check(alice, start.after(wait)), Ok(()));
        // Who asks often gets no less back.
        budgets.charge(bob, PERSON.at_once as usize, start);
        for millis in 0..1000 {
            drop(budgets.check(bob, start.after(Duration::from_millis(millis))));
        }
        assert!(budgets.afford(bob, 97, start.after(Duration::from_secs(1))));
        assert!(!budgets.afford(bob, 97, start.after(Duration::from_secs(1))));
        assert!(budgets.afford(Payer::Unlimited, usize::MAX, start));
    }

    #[test]
    fn who_has_a_full_budget_is_forgotten() {
        let mut budgets = Budgets::default();
        let start = BootTime(0);
        (0..2000).for_each(|uid| budgets.charge(Payer::Person(uid), 1, start));
        budgets.charge(Payer::Person(9999), 1, start.after(Duration::from_secs(60)));
        assert_eq!(budgets.0.len(), 1);
    }
}

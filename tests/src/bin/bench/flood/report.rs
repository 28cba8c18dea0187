//! The floods' figures, for people and for programs.

use serde_json::{Value, json};

use super::{
    Flood, Floods, Rate,
    client::{self, Client, Service},
};
use crate::{cores::Cores, table::aligned};

impl Floods {
    /// The figures as a table, for people.
    pub(crate) fn to_table(&self) -> String {
        let Self { rounds, cores, floods, client } = self;
        let mut sections: Vec<String> = floods.iter().map(|flood| flood.to_table(*rounds, *cores)).collect();
        sections.extend(client.as_ref().map(|client| client.to_table(*rounds, *cores)));
        sections.join("\n\n")
    }

    /// The figures as JSON, for programs.
    pub(crate) fn to_json(&self) -> Value {
        let Self { rounds, cores, floods, client } = self;
        json!({
            "rounds": rounds,
            "floodCore": cores.flood,
            "otherCore": cores.other,
            "floods": floods.iter().map(Flood::to_json).collect::<Vec<_>>(),
            "client": client.as_ref().map(Client::to_json),
        })
    }
}

impl Flood {
    fn to_table(&self, rounds: u32, cores: Cores) -> String {
        let Self { traffic, generator, results } = self;
        let heading = format!(
            "Flood: {}, 65,536 sources, {rounds} rounds of all filters by turns\n\
             Sent as live XDP frames and received over a veth by core {}, before all other work; the sets of nftables and ipset are empty\n\
             Median (quartiles); the generator alone takes {} ns a packet, which `net ns` is without",
            traffic.meaning(),
            cores.flood,
            generator.shown(0)
        );
        let mut rows = vec![["filter", "Mpps", "of bare drop", "net ns", "lost"].map(str::to_owned)];
        let mut missing = String::new();
        for (filter, result) in results {
            let name = filter.meaning().to_owned();
            rows.push(match result {
                Ok(Rate { mpps, of_bare, net, received, .. }) => {
                    let lost = format!("{:.1} %", (1.0 - received.median()) * 100.0);
                    [name, mpps.shown(2), of_bare.shown(2), net.shown(0), lost]
                }
                Err(reason) => {
                    missing.push_str(&format!("\n{name} can't be measured here: {reason}"));
                    [&name, "-", "-", "-", "-"].map(str::to_owned)
                }
            });
        }
        format!("{heading}\n\n{}{missing}", aligned(&rows, 1))
    }

    fn to_json(&self) -> Value {
        let Self { traffic, generator, results } = self;
        let results = results.iter().map(|(filter, result)| match result {
            Ok(Rate { mpps, of_bare, net, received, .. }) => json!({
                "filter": filter.name(),
                "megapacketsPerSecond": mpps.to_json(),
                "ratioToBareDrop": of_bare.to_json(),
                "netNanoseconds": net.to_json(),
                "received": received.to_json(),
            }),
            Err(reason) => json!({ "filter": filter.name(), "notMeasured": reason }),
        });
        json!({
            "name": traffic.name(),
            "generatorNanoseconds": generator.to_json(),
            "filters": results.collect::<Vec<_>>(),
        })
    }
}

impl Client {
    fn to_table(&self, rounds: u32, cores: Cores) -> String {
        let heading = format!(
            "A client of an unprotected port during a flood: {}, {rounds} rounds by turns\n\
             One TCP connection after the other, each with a request and an answer of 64 bytes\n\
             The flood, the same {} packets/s for all filters or what they let through, is sent and received by core {};\n\
             client and server share core {}; the client's packets come in by the flooded queue\n\
             Bare XDP_DROP drops the client's packets too. Median of the rounds (quartiles)",
            client::BESIDE.meaning(),
            client::OFFERED,
            cores.flood,
            cores.other
        );
        let mut rows = vec![["filter", "flood/s", "requests/s", "p99 ms"].map(str::to_owned)];
        let figures = |service: &Service| [service.flooded.shown(0), service.rate.shown(0), service.p99.shown(3)];
        let mut push = |name: &str, [flood, rate, p99]: [String; 3]| rows.push([name.to_owned(), flood, rate, p99]);
        push("no flood, nothing", figures(&self.quiet));
        for (filter, service) in &self.beside {
            let figures = service.as_ref().map_or_else(|| ["-", "-", "-"].map(str::to_owned), figures);
            push(filter.meaning(), figures);
        }
        format!("{heading}\n\n{}", aligned(&rows, 1))
    }

    fn to_json(&self) -> Value {
        let figures = |service: &Service| json!({ "requestsPerSecond": service.rate.to_json(), "p99Milliseconds": service.p99.to_json() });
        let beside = self
            .beside
            .iter()
            .map(|(filter, service)| json!({ "filter": filter.name(), "service": service.as_ref().map(figures) }));
        json!({
            "name": client::NAME,
            "flood": client::BESIDE.name(),
            "withoutFlood": figures(&self.quiet),
            "filters": beside.collect::<Vec<_>>(),
        })
    }
}

//! The translation of Azure's JSON to ports, without I/O. It collects everything that can't be used, with the place in
//! the file.

use std::time::Duration;

use ipnet::IpNet;
use jit_policy::{LONGEST_MAXIMUM, PortId, Protocol, SHORTEST_MAXIMUM, Span, parse_source};
use serde_json::{Map, Value};

/// The sources that a `*` stands for.
const ANY_SOURCE: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// One thing in the file that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The place in the file, like `$.value[0].name`.
    pub(super) path: String,
    /// The value in the file.
    pub(super) given: String,
    /// The remedy for the user.
    pub(super) remedy: String,
}

impl Fault {
    fn new(path: &str, given: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path: path.to_owned(), given: given.into(), remedy: remedy.into() }
    }

    fn of(path: &str, given: &Value, remedy: impl Into<String>) -> Self {
        Self::new(path, excerpt(given), remedy)
    }
}

/// The longest value that is shown, in characters.
const LONGEST_EXCERPT: usize = 60;

fn excerpt(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= LONGEST_EXCERPT {
        return text;
    }
    text.chars().take(LONGEST_EXCERPT).chain(['…']).collect()
}

/// The policy of one port in Azure's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AzurePort {
    /// The place in the file.
    pub(super) path: String,
    /// The port.
    pub(super) id: PortId,
    /// The sources that may be requested, in order and without repetitions.
    pub(super) sources: Vec<IpNet>,
    /// The longest duration of a request.
    pub(super) maximum: Duration,
}

impl AzurePort {
    fn key(&self) -> (PortId, &[IpNet], Duration) {
        (self.id, &self.sources, self.maximum)
    }
}

/// One virtual machine of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    /// The machine's resource id.
    pub(super) id: String,
    /// The machine's ports that can be used, in order of port.
    pub(super) ports: Vec<AzurePort>,
    /// The faults of the ports that can't be used.
    pub(super) faults: Vec<Fault>,
}

impl Machine {
    /// The last part of the machine's resource id.
    pub(super) fn name(&self) -> &str {
        self.id.rsplit('/').next().unwrap_or(&self.id)
    }

    /// Whether `id` is the machine's resource id or the last part of that id; Azure ignores upper and lower case.
    pub(super) fn is(&self, id: &str) -> bool {
        self.id.eq_ignore_ascii_case(id) || self.name().eq_ignore_ascii_case(id)
    }

    /// Whether both machines have the same port policies.
    pub(super) fn agrees_with(&self, other: &Self) -> bool {
        self.faults.is_empty()
            && other.faults.is_empty()
            && self.ports.iter().map(AzurePort::key).eq(other.ports.iter().map(AzurePort::key))
    }
}

/// The virtual machines of a file, without repetitions.
///
/// # Errors
/// The text is not JSON, or does not have the form that Azure prints. The error lists every fault of the form. Faults
/// of a port are in the result, with the port's machine.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Machine>, Vec<Fault>> {
    let root: Value = serde_json::from_slice(text).map_err(|error| {
        vec![Fault::new("$", error.to_string(), "the JSON that `az security jit-policy list -o json` prints")]
    })?;
    let mut faults = Vec::new();
    let mut machines = Vec::new();
    for (path, policy) in policies(&root, &mut faults) {
        read_policy(&path, policy, &mut machines, &mut faults);
    }
    for machine in &mut machines {
        machine.ports.sort_by_key(|port| port.id);
        find_overlaps(machine);
    }
    if faults.is_empty() { Ok(machines) } else { Err(faults) }
}

fn policies<'a>(root: &'a Value, faults: &mut Vec<Fault>) -> Vec<(String, &'a Value)> {
    let all = |path: &str, list: &'a [Value]| -> Vec<_> {
        list.iter().enumerate().map(|(index, policy)| (format!("{path}[{index}]"), policy)).collect()
    };
    match root {
        Value::Array(list) => all("$", list),
        Value::Object(object) => {
            if let Some(next) = object.get("nextLink").filter(|next| !next.is_null()) {
                let remedy = "the whole list, which has several pages: `az security jit-policy list` follows them";
                faults.push(Fault::of("$.nextLink", next, remedy));
            }
            match object.get("value") {
                Some(Value::Array(list)) => all("$.value", list),
                Some(other) => {
                    faults.push(Fault::of("$.value", other, "a list of policies"));
                    Vec::new()
                }
                None => vec![("$".to_owned(), root)],
            }
        }
        other => {
            faults.push(Fault::of("$", other, "a policy or a list of policies"));
            Vec::new()
        }
    }
}

fn read_policy(path: &str, policy: &Value, machines: &mut Vec<Machine>, faults: &mut Vec<Fault>) {
    // The REST API nests the properties of the policy, `az` doesn't.
    let (path, properties) = match policy.get("properties") {
        Some(properties) if !properties.is_null() => (format!("{path}.properties"), properties),
        _ => (path.to_owned(), policy),
    };
    let path = format!("{path}.virtualMachines");
    let Some(Value::Array(list)) = properties.get("virtualMachines") else {
        let given = properties.get("virtualMachines").map_or_else(|| "nothing".to_owned(), excerpt);
        faults.push(Fault::new(&path, given, "the list of virtual machines of a just-in-time policy"));
        return;
    };
    for (index, machine) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        match machine.get("id") {
            Some(Value::String(id)) if !id.is_empty() => read_machine(&path, id, machine, machines, faults),
            id => {
                let given = id.map_or_else(|| "nothing".to_owned(), excerpt);
                faults.push(Fault::new(&format!("{path}.id"), given, "the resource id of a virtual machine"));
            }
        }
    }
}

/// Adds a machine. If another policy has named the machine already, adds the ports to that machine.
fn read_machine(path: &str, id: &str, machine: &Value, machines: &mut Vec<Machine>, faults: &mut Vec<Fault>) {
    let path = format!("{path}.ports");
    let Some(Value::Array(list)) = machine.get("ports") else {
        let given = machine.get("ports").map_or_else(|| "nothing".to_owned(), excerpt);
        faults.push(Fault::new(&path, given, "the list of the machine's ports"));
        return;
    };
    let mut ports = Vec::new();
    let mut wrong = Vec::new();
    for (index, port) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        match port {
            Value::Object(port) => ports.extend(read_port(&path, port, &mut wrong)),
            other => wrong.push(Fault::of(&path, other, "an object with number, protocol, sources and maximum")),
        }
    }
    match machines.iter_mut().find(|machine| machine.id.eq_ignore_ascii_case(id)) {
        Some(machine) => {
            machine.ports.extend(ports);
            machine.faults.extend(wrong);
        }
        None => machines.push(Machine { id: id.to_owned(), ports, faults: wrong }),
    }
}

/// Reads a port. Adds what is wrong to `faults`; returns `None` only if there is a fault.
fn read_port(path: &str, port: &Map<String, Value>, faults: &mut Vec<Fault>) -> Option<AzurePort> {
    let mut field = |name: &str, remedy: &str| {
        let value = port.get(name).filter(|value| !value.is_null());
        if value.is_none() {
            faults.push(Fault::new(&format!("{path}.{name}"), "nothing", remedy));
        }
        value
    };
    let numbers = "a port number from 1 to 65535";
    let protocols = "TCP, UDP or *";
    let durations = "5 minutes to 24 hours in ISO 8601, like PT3H";
    let (number, protocol, maximum) =
        (field("number", numbers), field("protocol", protocols), field("maxRequestAccessDuration", durations));
    let mut checked = |value: Option<&Value>, name: &str, good: bool, remedy: &str| {
        if let Some(value) = value.filter(|_| !good) {
            faults.push(Fault::of(&format!("{path}.{name}"), value, remedy));
        }
    };
    let good_number =
        number.and_then(Value::as_u64).and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0);
    checked(number, "number", good_number.is_some(), numbers);
    let good_protocol = protocol.and_then(Value::as_str).and_then(azure_protocol);
    checked(protocol, "protocol", good_protocol.is_some(), protocols);
    let good_maximum = maximum
        .and_then(Value::as_str)
        .and_then(|text| text.parse::<Span>().ok())
        .map(|span| span.0)
        .filter(|maximum| (SHORTEST_MAXIMUM..=LONGEST_MAXIMUM).contains(maximum));
    checked(maximum, "maxRequestAccessDuration", good_maximum.is_some(), durations);
    let sources = read_sources(path, port, faults)?;
    let id = PortId { number: good_number?, protocol: good_protocol? };
    Some(AzurePort { path: path.to_owned(), id, sources, maximum: good_maximum? })
}

fn azure_protocol(name: &str) -> Option<Protocol> {
    Protocol::ALL.into_iter().find(|protocol| protocol.wire_name().eq_ignore_ascii_case(name))
}

/// Reads the sources of a port. Adds what is wrong to `faults`; returns `None` only if there is a fault.
fn read_sources(path: &str, port: &Map<String, Value>, faults: &mut Vec<Fault>) -> Option<Vec<IpNet>> {
    const ONE: &str = "allowedSourceAddressPrefix";
    const SEVERAL: &str = "allowedSourceAddressPrefixes";
    let before = faults.len();
    let of = |name: &str| port.get(name).filter(|value| !value.is_null());
    let values: Vec<(String, &Value)> = match (of(ONE), of(SEVERAL)) {
        (Some(one), None) => vec![(format!("{path}.{ONE}"), one)],
        (None, Some(Value::Array(list))) if !list.is_empty() => {
            list.iter().enumerate().map(|(index, value)| (format!("{path}.{SEVERAL}[{index}]"), value)).collect()
        }
        (None, Some(other)) => {
            faults.push(Fault::of(&format!("{path}.{SEVERAL}"), other, "a list of one source or more"));
            return None;
        }
        (given, _) => {
            let given = if given.is_some() { format!("{ONE} too") } else { "nothing".to_owned() };
            faults.push(Fault::new(&format!("{path}.{SEVERAL}"), given, format!("one of {ONE} and {SEVERAL}")));
            return None;
        }
    };
    let mut sources = Vec::new();
    for (path, value) in values {
        match value.as_str() {
            Some("*") => sources.extend(ANY_SOURCE.iter().filter_map(|any| parse_source(any).ok())),
            Some(text) => match parse_source(text.trim()) {
                Ok(source) => sources.push(source),
                Err(error) => faults.push(Fault::of(&path, value, source_remedy(text, &error))),
            },
            None => faults.push(Fault::of(&path, value, "a text: an address, a prefix or *")),
        }
    }
    sources.sort();
    sources.dedup();
    (faults.len() == before).then_some(sources)
}

fn source_remedy(text: &str, error: &jit_policy::SourceError) -> String {
    let looks_like_tag = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_');
    if looks_like_tag {
        return "the addresses or prefixes it stands for; only Azure knows what its tags mean".to_owned();
    }
    error.to_string()
}

/// Finds ports with overlapping policies: two policies can't hold for the same packets.
fn find_overlaps(machine: &mut Machine) {
    let Machine { ports, faults, .. } = machine;
    for (index, port) in ports.iter().enumerate() {
        let before = ports.iter().take(index).find(|other| other.id.overlaps(port.id));
        if let Some(other) = before {
            let remedy = format!("one policy for these packets; {} has {} too", other.path, other.id);
            faults.push(Fault::new(&port.path, port.id.to_string(), remedy));
        }
    }
}

//! Values that can't be used, and what is said of them.

use std::fmt::Write as _;

use anyhow::Result;
use jit_tests::{Namespace, Sandbox};

use crate::{
    file,
    run::{as_user, run},
};

/// Files that are refused, one for each line; `;` ends a line of the file.
const FILES: &str = "
# unknown keys
enforce = true
[[port]]; number = 22; protocol = 'tcp'; allowed = ['192.0.2.0/24']
[roles]; owner = ['alice']
[store]; path = '/var/lib'

# not TOML
mode = 
mode = 'enforce'; mode = 'observe'

# mode
mode = 'enfore'
mode = 'Enforce'
mode = true

# interfaces
interfaces = 'eth0'
interfaces = []
interfaces = ['']
interfaces = ['eth0', 'eth0']
interfaces = ['auto', 'auto']
interfaces = ['eth[']
interfaces = ['a/b']
interfaces = ['averyveryverylongname']
interfaces = [1]

# scope
scope = 'some'

# fragments
fragments = 'refuse'

# break_glass
break_glass = '192.0.2.7'
break_glass = ['host']
break_glass = ['192.0.2.1/24']
break_glass = ['fe80::1']
break_glass = ['::ffff:192.0.2.1']
break_glass = ['0.0.0.0/0']
break_glass = ['192.0.2.7', '192.0.2.7']

# socket, state_dir, bpffs_dir
socket = 'run/jit-agent.sock'
socket = ''
socket = 7
state_dir = 'state'
bpffs_dir = './bpf'

# metrics_listen
metrics_listen = '9590'
metrics_listen = 9590
metrics_listen = '0.0.0.0:9590'
metrics_listen = '[2001:db8::1]:9590'
metrics_listen = 'localhost:9590'

# retention
retention = 400
retention = '0d'
retention = '3h'
retention = '36501d'
retention = '1 year'

# port
port = 22
[port]; number = 22; protocol = 'tcp'
[[port]]; number = 22
[[port]]; protocol = 'tcp'
[[port]]; number = 22; protocol = 'tcp';[[port]]; number = 22; protocol = 'any'
[[port]]; number = 22; protocol = 'tcp';[[port]]; number = 22; protocol = 'tcp'

# number
[[port]]; number = 0; protocol = 'tcp'
[[port]]; number = 65536; protocol = 'tcp'
[[port]]; number = -1; protocol = 'tcp'
[[port]]; number = '22'; protocol = 'tcp'

# protocol
[[port]]; number = 22; protocol = 'icmp'
[[port]]; number = 22; protocol = 'sctp'
[[port]]; number = 22; protocol = 6

# allowed_sources
[[port]]; number = 22; protocol = 'tcp'; allowed_sources = []
[[port]]; number = 22; protocol = 'tcp'; allowed_sources = '192.0.2.0/24'
[[port]]; number = 22; protocol = 'tcp'; allowed_sources = ['192.0.2.1/24']
[[port]]; number = 22; protocol = 'tcp'; allowed_sources = ['192.0.2.0/33']
[[port]]; number = 22; protocol = 'tcp'; allowed_sources = ['fe80::/64']

# max_duration
[[port]]; number = 22; protocol = 'tcp'; max_duration = 'long'
[[port]]; number = 22; protocol = 'tcp'; max_duration = 3600
[[port]]; number = 22; protocol = 'tcp'; max_duration = '0s'
[[port]]; number = 22; protocol = 'tcp'; max_duration = '4m'
[[port]]; number = 22; protocol = 'tcp'; max_duration = '25h'
[[port]]; number = 22; protocol = 'tcp'; max_duration = '-1h'

# approval
[[port]]; number = 22; protocol = 'tcp'; approval = 'maybe'
[[port]]; number = 22; protocol = 'tcp'; approval = true

# approval_timeout
[[port]]; number = 22; protocol = 'tcp'; approval_timeout = '59s'
[[port]]; number = 22; protocol = 'tcp'; approval_timeout = '8d'
[[port]]; number = 22; protocol = 'tcp'; approval_timeout = '169h'

# justification
[[port]]; number = 22; protocol = 'tcp'; justification = 'none'

# quota
[[port]]; number = 22; protocol = 'tcp'; quota = 0
[[port]]; number = 22; protocol = 'tcp'; quota = -1
[[port]]; number = 22; protocol = 'tcp'; quota = 1048577
[[port]]; number = 22; protocol = 'tcp'; quota = '32'

# roles
roles = ['alice']
[roles]; admin = 'alice'
[roles]; admin = ['@']
[roles]; viewer = ['']
";

#[test]
fn what_can_not_be_used_is_refused_in_the_same_words() -> Result<()> {
    let (sandbox, namespace) = (Sandbox::new()?, Namespace::new("host")?);
    let mut text = String::new();
    for line in FILES.lines().filter(|line| !line.is_empty()) {
        if let Some(key) = line.strip_prefix("# ") {
            writeln!(text, "## {key}\n")?;
            continue;
        }
        let path = sandbox.write("config.toml", line.replace(';', "\n"))?;
        let program = as_user("root", &sandbox, "jit-agent")?.arg("check").arg("--config").arg(path);
        let outcome = run(program, &namespace)?;
        // Whether the host can do what is accepted is not the question here.
        let is_refused = outcome.stderr.contains("/run/sandbox/config.toml");
        writeln!(text, "{line}\n{}\n", if is_refused { &outcome.stderr } else { "accepted\n" })?;
    }
    file::check("refused.txt", &text)
}

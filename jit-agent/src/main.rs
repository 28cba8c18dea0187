//! The daemon `jit-agent`, and the commands that turn enforcement on and off.

fn main() -> std::process::ExitCode {
    jit_agent::daemon::main()
}

//! The client `jitctl`.

fn main() -> std::process::ExitCode {
    jit_ctl::main()
}

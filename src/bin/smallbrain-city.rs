//! Arguments → command → exit code, nothing else: the city's collector.

fn main() -> std::process::ExitCode {
    smallbrain::city::main()
}

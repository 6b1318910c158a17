//! The configuration from outside: the example, a file with every kind of fault, and what a reload keeps.
use smallbrain::cli::check;
use std::path::Path;
#[test]
fn x() {
    for f in ["config.example.toml", "tests/data/config/broken.toml"] {
        let mut out = Vec::new();
        let code = check::run(&Path::new(env!("CARGO_MANIFEST_DIR")).join(f), false, &mut out);
        eprintln!("{}\n{code}", String::from_utf8_lossy(&out));
    }
}

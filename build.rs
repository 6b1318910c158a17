//! Compiles proto/ with protox: no protoc is needed, nothing is fetched.

use std::path::Path;

use protox::prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(
        [
            "smallbrain/v1/smallbrain.proto",
            "smallbrain/v1/approvals.proto",
            "smallbrain/v1/catalog.proto",
            "smallbrain/v1/downlink.proto",
            "smallbrain/v1/link.proto",
            "smallbrain/local/v1/alarms.proto",
            "smallbrain/local/v1/bus.proto",
            "smallbrain/local/v1/command.proto",
            "smallbrain/local/v1/entry.proto",
            "smallbrain/local/v1/onboard.proto",
        ],
        ["proto"],
    )?;
    let contract = Path::new(&std::env::var("OUT_DIR")?).join("contract.bin");
    std::fs::write(contract, files.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".smallbrain.v1.Record")
        .btree_map(".smallbrain.v1")
        .compile_fds(files)?;
    Ok(())
}

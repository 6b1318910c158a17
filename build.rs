//! Compiles proto/ with protox: no protoc is needed, nothing is fetched.

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
    tonic_prost_build::configure()
        .bytes(".smallbrain.v1.Record")
        .btree_map(".smallbrain.v1")
        .compile_fds(files)?;
    Ok(())
}

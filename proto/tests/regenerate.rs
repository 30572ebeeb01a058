//! Holds the committed code to the `.proto` files.

use std::{fs, path::Path};

/// Compiles the `.proto` files without `protoc` and generates the code into `into`.
fn generate(into: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["jobs", "transforms"].map(|name| root.join(format!("whimbrel/v1/{name}.proto")));
    let descriptors = protox::compile(files, [root]).expect("the .proto files compile");
    let encoded = prost::Message::encode_to_vec(&descriptors);
    fs::write(into.join("whimbrel.v1.binpb"), encoded).expect("write the descriptors");
    tonic_prost_build::configure()
        .out_dir(into)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)
        .expect("generate the code");
}

/// The same for the messages of Substrait.
fn generate_substrait(into: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("substrait/proto");
    let files = ["plan", "extended_expression"];
    let files = files.map(|name| root.join(format!("substrait/{name}.proto")));
    let descriptors = protox::compile(files, [root]).expect("the .proto files compile");
    tonic_prost_build::configure()
        .out_dir(into)
        .emit_rerun_if_changed(false)
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .compile_fds(descriptors)
        .expect("generate the code");
}

/// Compares what is committed in a folder with what is generated now, or writes it.
fn hold(folder: &str, generate: fn(&Path), files: &[&str]) {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    if std::env::var_os("WHIMBREL_REGENERATE").is_some() {
        generate(&committed);
        return;
    }
    let fresh = tempfile::tempdir().expect("a temporary folder");
    generate(fresh.path());
    for file in files {
        let same = fs::read(fresh.path().join(file)).expect("the generated file")
            == fs::read(committed.join(file)).expect("the committed file");
        assert!(same, "{file} is stale: run WHIMBREL_REGENERATE=1 cargo test -p whimbrel-proto");
    }
}

#[test]
fn committed_code_is_what_the_proto_files_say() {
    hold("src/gen", generate, &["whimbrel.v1.rs", "whimbrel.v1.binpb"]);
}

#[test]
fn committed_code_is_what_the_proto_files_of_substrait_say() {
    let files = ["substrait.rs", "substrait.extensions.rs"];
    hold("substrait/src/gen", generate_substrait, &files);
}

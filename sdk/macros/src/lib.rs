//! Reads YAML when a plugin is compiled, so that no guest carries a parser for it and a typing error never reaches a host.

use std::path::Path;

use proc_macro::{Literal, TokenStream, TokenTree};

/// `include_yaml!("crd.yaml")`: the file, relative to the crate's directory, as a `&'static str` of JSON.
#[proc_macro]
pub fn include_yaml(input: TokenStream) -> TokenStream {
    match include(input) {
        Ok((json, path)) => {
            let (json, path) = (TokenTree::from(Literal::string(&json)), TokenTree::from(Literal::string(&path)));
            // Naming the file makes cargo compile again when it changes.
            format!("{{ const _: &[u8] = ::core::include_bytes!({path}); {json} }}").parse().expect("literals parse")
        }
        Err(why) => {
            let why = Literal::string(&why);
            format!("::core::compile_error!({why})").parse().expect("a literal parses")
        }
    }
}

fn include(input: TokenStream) -> Result<(String, String), String> {
    let literal = input.to_string();
    let file = literal
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .ok_or("give the name of a YAML file as a string")?;
    let root = std::env::var("CARGO_MANIFEST_DIR").map_err(|error| error.to_string())?;
    let path = Path::new(&root).join(file);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let value: serde_json::Value =
        serde_yaml_ng::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok((value.to_string(), path.display().to_string()))
}

//! Bindings to `wit/reconciler`, as a guest sees it.

wit_bindgen::generate!({
    path: "../wit/reconciler",
    world: "reconciler",
    pub_export_macro: true,
    default_bindings_module: "threeport_sdk::bindings",
    export_macro_name: "export_component",
    additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
});

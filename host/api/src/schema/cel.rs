//! `x-kubernetes-validations`: rules in the Common Expression Language.
//!
//! A rule is compiled when its CustomResourceDefinition is created; one that does not compile, or calls what this engine does not have, is
//! refused there. The engine cannot be interrupted, so cost is bounded before a rule runs: by the size of the expression and of the value
//! it looks at, to the power of its nested loops.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::objects::{Key, Map};
use cel::{Context, Env, ExecutionError, Program, Value as Cel, extensions};
use serde_json::Value;

use super::{Additional, ErrorKind, FieldError, Schema, Type};

/// What one rule may cost, in steps; a step is some tens of nanoseconds.
const RULE_LIMIT: u64 = 2_000_000;
/// What all rules of one object may cost.
const OBJECT_LIMIT: u64 = 10_000_000;

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    env.add_extension(extensions::strings).expect("the strings extension is added once");
    env.add_extension(extensions::lists).expect("the lists extension is added once");
    env.add_extension(extensions::math).expect("the math extension is added once");
    Arc::new(env)
});

/// What is left of the steps for one object.
pub(super) struct Budget(u64);

impl Default for Budget {
    fn default() -> Self {
        Self(OBJECT_LIMIT)
    }
}

/// One compiled rule.
#[derive(Debug)]
pub(crate) struct Rule {
    source: String,
    program: Program,
    message: Option<String>,
    message_expression: Option<Program>,
    reason: ErrorKind,
    field_path: Option<String>,
    /// Looks at the value before the update: asked on updates only.
    transition: bool,
    /// Number of nodes, and depth of nested loops.
    nodes: u64,
    loops: u32,
}

/// Compiles the rules at `path`, reporting each that cannot work.
pub(super) fn compile(source: &Value, path: &str, errors: &mut Vec<FieldError>) -> Vec<Rule> {
    let Value::Array(rules) = source else {
        errors.push(FieldError::invalid(path, source, "must be a list of rules"));
        return Vec::new();
    };
    let mut compiled = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        match compile_rule(rule, &format!("{path}[{index}]")) {
            Ok(rule) => compiled.push(rule),
            Err(error) => errors.push(error),
        }
    }
    compiled
}

fn compile_rule(rule: &Value, path: &str) -> Result<Rule, FieldError> {
    let text = |key: &str| rule.get(key).and_then(Value::as_str).filter(|t| !t.trim().is_empty());
    let known = ["rule", "message", "messageExpression", "reason", "fieldPath"];
    if let Some(key) = rule.as_object().into_iter().flatten().map(|(k, _)| k).find(|k| !known.contains(&k.as_str())) {
        return Err(FieldError::forbidden(format!("{path}.{key}"), "is not supported here"));
    }
    let source = text("rule").ok_or_else(|| FieldError::required(format!("{path}.rule"), "is required"))?;
    let program = program(source, &format!("{path}.rule"))?;
    let message_expression = match text("messageExpression") {
        Some(source) => Some(self::program(source, &format!("{path}.messageExpression"))?),
        None => None,
    };
    let reason = match text("reason") {
        None | Some("FieldValueInvalid") => ErrorKind::Invalid,
        Some("FieldValueForbidden") => ErrorKind::Forbidden,
        Some("FieldValueRequired") => ErrorKind::Required,
        Some("FieldValueDuplicate") => ErrorKind::Duplicate,
        Some(other) => {
            let detail = "must be FieldValueInvalid, FieldValueForbidden, FieldValueRequired or FieldValueDuplicate";
            return Err(FieldError::invalid(format!("{path}.reason"), &other.into(), detail));
        }
    };
    let message = text("message").map(str::to_owned);
    if message.is_none() && source.contains('\n') {
        return Err(FieldError::required(format!("{path}.message"), "must be set when the rule contains line breaks"));
    }
    let transition = program.references().has_variable("oldSelf");
    let (nodes, loops) = size(program.expression());
    let field_path = text("fieldPath").map(str::to_owned);
    Ok(Rule {
        source: source.to_owned(),
        program,
        message,
        message_expression,
        reason,
        field_path,
        transition,
        nodes,
        loops,
    })
}

/// A program that calls only what there is and looks only at what is given.
fn program(source: &str, path: &str) -> Result<Program, FieldError> {
    let invalid = |detail: String| FieldError::invalid(path, &source.into(), format!("compilation failed: {detail}"));
    if source.len() > 8 * 1024 {
        return Err(FieldError::new(ErrorKind::TooLong, path, None, "may not be more than 8192 bytes"));
    }
    let program = ENV.compile(source).map_err(|e| invalid(e.to_string()))?;
    let mut scope = vec!["self".to_owned(), "oldSelf".to_owned()];
    undeclared(program.expression(), &mut scope)
        .map_err(|what| invalid(format!("undeclared reference to '{what}'")))?;
    Ok(program)
}

/// Finds a variable or function that does not exist.
fn undeclared(expr: &IdedExpr, scope: &mut Vec<String>) -> Result<(), String> {
    match &expr.expr {
        Expr::Ident(name) => {
            let type_name = || ENV.compile(name).is_ok_and(|p| p.execute(&Context::with_env(ENV.clone())).is_ok());
            if !name.starts_with('@') && !scope.contains(name) && !type_name() {
                return Err(name.clone());
            }
        }
        Expr::Call(call) => {
            if call.func_name.chars().next().is_some_and(char::is_alphabetic) && !is_function(&call.func_name) {
                // `math.greatest(1, 2)`: the target is a namespace, not a value.
                let qualified = namespace(call.target.as_deref()).map(|ns| format!("{ns}.{}", call.func_name));
                match qualified {
                    Some(name) if is_function(&name) => {}
                    _ => return Err(call.func_name.clone()),
                }
            }
            if let Some(target) = &call.target {
                let is_namespace = namespace(Some(target)).is_some_and(|ns| {
                    !scope.iter().any(|s| s == ns) && is_function(&format!("{ns}.{}", call.func_name))
                });
                if !is_namespace {
                    undeclared(target, scope)?;
                }
            }
            for arg in &call.args {
                undeclared(arg, scope)?;
            }
        }
        Expr::Comprehension(c) => {
            undeclared(&c.iter_range, scope)?;
            undeclared(&c.accu_init, scope)?;
            let depth = scope.len();
            scope.extend([c.iter_var.clone(), c.accu_var.clone()]);
            scope.extend(c.iter_var2.clone());
            for part in [&c.loop_cond, &c.loop_step, &c.result] {
                undeclared(part, scope)?;
            }
            scope.truncate(depth);
        }
        other => {
            for child in children(other) {
                undeclared(child, scope)?;
            }
        }
    }
    Ok(())
}

fn namespace(target: Option<&IdedExpr>) -> Option<&str> {
    match &target?.expr {
        Expr::Ident(name) => Some(name),
        _ => None,
    }
}

/// Whether the engine has a function of this name: it answers "no such overload" then, not "undeclared".
fn is_function(name: &str) -> bool {
    let known = |source: &str| {
        let context = Context::with_env(ENV.clone());
        ENV.compile(source).is_ok_and(|p| !matches!(p.execute(&context), Err(ExecutionError::UndeclaredReference(_))))
    };
    // Macros (`has`, `all`, ...) are expanded when parsing and never arrive here.
    known(&format!("{name}(null)")) || known(&format!("null.{name}()")) || known(&format!("{name}()"))
}

fn children(expr: &Expr) -> Vec<&IdedExpr> {
    match expr {
        Expr::Call(c) => c.target.as_deref().into_iter().chain(&c.args).collect(),
        Expr::Comprehension(c) => vec![&c.iter_range, &c.accu_init, &c.loop_cond, &c.loop_step, &c.result],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Map(map) => map.entries.iter().flat_map(|e| entry(&e.expr)).collect(),
        Expr::Struct(s) => s.entries.iter().flat_map(|e| entry(&e.expr)).collect(),
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Vec::new(),
    }
}

fn entry(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

/// Number of nodes and depth of loops.
fn size(expr: &IdedExpr) -> (u64, u32) {
    let (mut nodes, mut loops) = (1, 0);
    for child in children(&expr.expr) {
        let (n, l) = size(child);
        nodes += n;
        loops = loops.max(l);
    }
    (nodes, loops + u32::from(matches!(expr.expr, Expr::Comprehension(_))))
}

/// The longest list, map or text in a value: no loop over it is longer.
fn widest(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.iter().map(widest).max().unwrap_or(0).max(items.len() as u64),
        Value::Object(map) => map.values().map(widest).max().unwrap_or(0).max(map.len() as u64),
        Value::String(text) => text.len() as u64 / 8,
        _ => 1,
    }
}

impl Rule {
    /// Evaluates the rule and reports what it says.
    pub(super) fn check(
        &self,
        schema: &Schema,
        value: &Value,
        old: Option<&Value>,
        path: &str,
        budget: &mut Budget,
        errors: &mut Vec<FieldError>,
    ) {
        if self.transition && old.is_none() {
            return;
        }
        let at = self
            .field_path
            .as_deref()
            .map_or_else(|| path.to_owned(), |below| format!("{path}{below}").trim_start_matches('.').to_owned());
        let cost = if self.loops == 0 {
            self.nodes
        } else {
            let widest = widest(value).max(old.map_or(0, widest)).max(16);
            self.nodes.saturating_mul(widest.saturating_pow(self.loops))
        };
        if cost > RULE_LIMIT || cost > budget.0 {
            let detail =
                format!("the rule would cost too much on a value of this size and was not evaluated: {}", self.source);
            errors.push(FieldError::forbidden(at, detail));
            return;
        }
        budget.0 -= cost;
        let mut context = Context::with_env(ENV.clone());
        context.add_variable_from_value("self", convert(value, Some(schema)));
        if let (true, Some(old)) = (self.transition || self.message_expression.is_some(), old) {
            context.add_variable_from_value("oldSelf", convert(old, Some(schema)));
        }
        match self.program.execute(&context) {
            Ok(Cel::Bool(true)) => {}
            Ok(Cel::Bool(false)) => {
                let message = self.message_expression.as_ref().and_then(|p| match p.execute(&context) {
                    Ok(Cel::String(text)) if !text.trim().is_empty() => Some((*text).clone()),
                    _ => None,
                });
                let message = message
                    .or_else(|| self.message.clone())
                    .unwrap_or_else(|| format!("failed rule: {}", self.source.trim()));
                let shown = match (self.reason, value) {
                    (ErrorKind::Required | ErrorKind::Forbidden, _) => None,
                    // Whole objects would drown what the rule says.
                    (_, Value::Object(_) | Value::Array(_)) => None,
                    (_, scalar) => Some(scalar.clone()),
                };
                errors.push(FieldError::new(self.reason, at, shown, message));
            }
            Ok(other) => errors.push(self.failed(at, &format!("it gave {other:?}, not a bool"))),
            Err(error) => errors.push(self.failed(at, &error.to_string())),
        }
    }

    fn failed(&self, at: String, why: &str) -> FieldError {
        FieldError::new(ErrorKind::Invalid, at, None, format!("rule evaluation error: {}: {why}", self.source.trim()))
    }
}

/// A JSON value as a CEL value of the type that the schema says.
fn convert(value: &Value, schema: Option<&Schema>) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(b) => Cel::Bool(*b),
        Value::Number(n) => match (n.as_i64(), schema.map(|s| s.kind)) {
            (Some(int), kind) if kind != Some(Type::Number) => Cel::Int(int),
            (None, Some(Type::Integer)) => Cel::Int(integer(n.as_f64().unwrap_or_default())),
            _ => Cel::Float(n.as_f64().unwrap_or_default()),
        },
        Value::String(text) => match schema.and_then(|s| s.format.as_deref()) {
            Some("date-time") => parsed("timestamp", text),
            Some("duration") => parsed("duration", text),
            _ => Cel::String(Arc::new(text.clone())),
        },
        Value::Array(items) => {
            let below = schema.and_then(|s| s.items.as_deref());
            Cel::List(Arc::new(items.iter().map(|item| convert(item, below)).collect()))
        }
        Value::Object(map) => {
            let entries: HashMap<Key, Cel> = map
                .iter()
                .filter_map(|(key, value)| {
                    let known = schema.and_then(|s| s.properties.get(key));
                    let below = known.or_else(|| match schema.map(|s| &s.additional) {
                        Some(Additional::Schema(below)) => Some(below),
                        _ => None,
                    });
                    // Rules cannot see unknown fields, as in Kubernetes; a null counts as not set.
                    let hidden =
                        value.is_null() || (below.is_none() && schema.is_some_and(|s| !s.properties.is_empty()));
                    let name = if known.is_some() { escape(key) } else { key.clone() };
                    (!hidden).then(|| (Key::String(Arc::new(name)), convert(value, below)))
                })
                .collect();
            Cel::Map(Map { map: Arc::new(entries) })
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the schema has checked that it is a whole number of at most 53 bits"
)]
fn integer(number: f64) -> i64 {
    number as i64
}

/// A timestamp or duration; text that is none stays text and fails in the rule.
fn parsed(function: &str, text: &str) -> Cel {
    let mut context = Context::with_env(ENV.clone());
    context.add_variable_from_value("text", text.to_owned());
    ENV.compile(&format!("{function}(text)"))
        .ok()
        .and_then(|program| program.execute(&context).ok())
        .unwrap_or_else(|| Cel::String(Arc::new(text.to_owned())))
}

/// Property names that are no CEL identifiers are escaped as Kubernetes does.
fn escape(name: &str) -> String {
    const RESERVED: [&str; 21] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    if name.contains("__") || name.contains(['.', '-', '/']) {
        return name
            .replace("__", "__underscores__")
            .replace('.', "__dot__")
            .replace('-', "__dash__")
            .replace('/', "__slash__");
    }
    name.to_owned()
}

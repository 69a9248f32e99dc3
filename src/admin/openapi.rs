//! The OpenAPI document, read off the table of routes.

use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ComponentsBuilder, ObjectBuilder, Schema, SchemaType, Type,
};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    Content, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, Response, ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::access::Access;
use super::route::{Answers, Method, Place, Route, Schemas};
use super::router::served;
use super::state::AdminSettings;
use crate::gateway::schema::{Member, NAME_BYTES_MAX, Payload, Want};

/// Every failure has this shape.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Failed {
    /// Always `false`.
    success: bool,
    /// For a person.
    message: String,
    /// For a program.
    error: FailedWhy,
}

/// Why a call failed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FailedWhy {
    /// `UPPER_SNAKE`: `VALIDATION_FAILED`, for instance.
    code: String,
    /// More, if there is more: for `VALIDATION_FAILED` a list of `{member, message}`, for
    /// `INVALID_JSON` `{line, column}`.
    #[schema(required = false)]
    details: Value,
}

const DESCRIPTION: &str = "REST of Corewire. JSON in, JSON out. Without an API key it exists only \
    on the admin listener, for this machine, and only as long as no key is configured; the public \
    listener serves the paths under /socket/, /healthz and /readyz and always demands a key, but \
    for health.";

/// The document of what is served with these settings.
pub(super) fn document(settings: &AdminSettings) -> OpenApi {
    let mut schemas = Schemas::new();
    schemas.push(("Failed".into(), Failed::schema()));
    Failed::schemas(&mut schemas);
    let mut paths = PathsBuilder::new();
    let mut items: Vec<(&str, PathItem)> = Vec::new();
    for route in served(settings.gateway) {
        let method = match route.method {
            Method::Get => HttpMethod::Get,
            Method::Post => HttpMethod::Post,
        };
        let item = PathItem::new(method, operation(route, &mut schemas));
        match items.iter_mut().find(|(path, _)| *path == route.path) {
            Some((_, known)) => known.merge_operations(item),
            None => items.push((route.path, item)),
        }
    }
    for (path, item) in items {
        paths = paths.path(path, item);
    }
    let mut components = ComponentsBuilder::new()
        .security_scheme(
            "bearer",
            SecurityScheme::Http(
                HttpBuilder::new()
                    .scheme(HttpAuthScheme::Bearer)
                    .description(Some("`Authorization: Bearer <key>`"))
                    .build(),
            ),
        )
        .security_scheme(
            "apiKey",
            SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
                "X-API-Key",
                "The same key in a header of its own",
            ))),
        );
    for (name, schema) in schemas {
        components = components.schema(name, schema);
    }
    let info = InfoBuilder::new()
        .title("Corewire")
        .version(settings.version)
        .description(Some(DESCRIPTION))
        .build();
    OpenApiBuilder::new()
        .info(info)
        .paths(paths.build())
        .components(Some(components.build()))
        .build()
}

fn operation(route: &Route, schemas: &mut Schemas) -> Operation {
    let mut operation = OperationBuilder::new()
        .operation_id(Some(route.id))
        .summary(Some(route.summary))
        .tag(tag(route));
    if route.place == Place::AdminListener {
        operation = operation.description(Some("On the admin listener only."));
    }
    if let Access::Needs(scope) = route.access {
        let scope = format!("{scope:?}").to_ascii_lowercase();
        operation = operation
            .description(Some(format!("Needs the scope {scope}.")))
            .security(SecurityRequirement::new("bearer", Vec::<String>::new()))
            .security(SecurityRequirement::new("apiKey", Vec::<String>::new()));
    }
    for name in path_parameters(route.path) {
        operation = operation.parameter(
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(plain(Type::String))),
        );
    }
    for param in route.query {
        operation = operation.parameter(
            ParameterBuilder::new()
                .name(param.name)
                .parameter_in(ParameterIn::Query)
                .required(Required::False)
                .description(Some(param.help))
                .schema(Some(plain(Type::String))),
        );
    }
    if let Some(body) = route.body {
        let name = format!("{body:?}Request");
        let content = Content::new(Some(Ref::from_schema_name(&name)));
        schemas.push((name, shape(body).into()));
        let body = RequestBodyBuilder::new()
            .content("application/json", content)
            .required(Some(Required::True));
        operation = operation.request_body(Some(body.build()));
    }
    let success = success(route, schemas);
    operation = operation.response("200", success.clone());
    for (status, meaning) in failures(route) {
        operation = operation.response(status.to_string(), failure(meaning));
    }
    for (status, meaning) in route.statuses {
        let response = if *status < 400 {
            let mut response = success.clone();
            response.description = (*meaning).to_owned();
            response
        } else {
            failure(meaning)
        };
        operation = operation.response(status.to_string(), response);
    }
    operation.build()
}

fn tag(route: &Route) -> &'static str {
    match route.place {
        Place::Everywhere => "server",
        Place::Gateway => "gateway",
        Place::AdminListener => "admin",
    }
}

/// The names in braces of a path.
fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn plain(kind: Type) -> Schema {
    ObjectBuilder::new().schema_type(SchemaType::new(kind)).build().into()
}

fn success(route: &Route, schemas: &mut Schemas) -> Response {
    let data: RefOr<Schema> = match route.answers {
        Answers::Raw(media_type) => {
            let content = Content::new(Some(plain(Type::String)));
            return ResponseBuilder::new()
                .description(route.summary)
                .content(media_type, content)
                .build();
        }
        Answers::Data(of) => of(schemas),
        Answers::Map(of) => {
            let of = AdditionalProperties::RefOr(of(schemas));
            Schema::from(ObjectBuilder::new().additional_properties(Some(of)).build()).into()
        }
        Answers::Page(of) => Schema::from(ArrayBuilder::new().items(of(schemas)).build()).into(),
    };
    let mut shape = ObjectBuilder::new()
        .property("success", plain(Type::Boolean))
        .required("success")
        .property("message", plain(Type::String))
        .required("message")
        .property("data", data)
        .required("data");
    if let Answers::Page(_) = route.answers {
        let cursor = SchemaType::Array(vec![Type::String, Type::Null]);
        let cursor = ObjectBuilder::new().schema_type(cursor).build();
        shape = shape.property("nextCursor", Schema::from(cursor)).required("nextCursor");
    }
    ResponseBuilder::new()
        .description(route.summary)
        .content("application/json", Content::new(Some(Schema::from(shape.build()))))
        .build()
}

fn failure(meaning: &str) -> Response {
    ResponseBuilder::new()
        .description(meaning)
        .content("application/json", Content::new(Some(Ref::from_schema_name("Failed"))))
        .build()
}

/// The schema of a body, read off the table that judges it.
fn shape(payload: Payload) -> Schema {
    let mut shape = ObjectBuilder::new();
    for Member { name, want, required } in payload.members() {
        shape = shape.property(*name, member(*want));
        if *required {
            shape = shape.required(*name);
        }
    }
    shape.build().into()
}

fn member(want: Want) -> Schema {
    let text = || ObjectBuilder::new().schema_type(SchemaType::new(Type::String));
    let name = || text().min_length(Some(1)).max_length(Some(NAME_BYTES_MAX));
    let shape = match want {
        Want::Name => name(),
        Want::Event => name().description(Some("No name that Socket.IO itself uses")),
        Want::Room => name().description(Some("No room of a user or session")),
        Want::Text(bytes_max) => text().min_length(Some(1)).max_length(Some(bytes_max)),
        Want::Word(words) => text().enum_values(Some(words.iter().copied())),
        Want::Number(min, max) => ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::Number))
            .minimum(Some(min))
            .maximum((max < f64::MAX).then_some(max)),
        Want::Flag => ObjectBuilder::new().schema_type(SchemaType::new(Type::Boolean)),
        Want::Any => ObjectBuilder::new().schema_type(SchemaType::AnyValue),
    };
    shape.build().into()
}

/// The failures that follow from the columns of a row.
fn failures(route: &Route) -> Vec<(u16, &'static str)> {
    let mut failures = Vec::new();
    if route.access != Access::Open {
        failures.push((401, "`UNAUTHORIZED`: no API key, or one that is not known."));
        failures.push((403, "`FORBIDDEN`: the API key lacks the scope."));
    }
    if route.method == Method::Post {
        failures.push((400, "`INVALID_JSON`, with line and column."));
        failures.push((413, "`PAYLOAD_TOO_LARGE`."));
        failures.push((415, "`UNSUPPORTED_MEDIA_TYPE`: not application/json."));
        failures.push((429, "`RATE_LIMITED` or `LIMIT_REACHED`, with Retry-After."));
    }
    if route.method == Method::Post || !route.query.is_empty() || route.path.contains('{') {
        failures.push((422, "`VALIDATION_FAILED`, naming each member."));
    }
    if route.place == Place::Gateway {
        failures.push((503, "`OVERLOADED`, with Retry-After."));
    }
    failures
}

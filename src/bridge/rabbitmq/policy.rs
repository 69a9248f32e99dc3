//! The policies that an operator should apply: what can be changed without declaring anew.
//!
//! A queue that is declared with other arguments than it has is refused, for ever. So only names
//! and kinds are declared, and limits come from policies.

use std::fmt::Write as _;

use lapin::uri::AMQPUri;

use crate::config::Options;

struct Policy {
    name: String,
    pattern: String,
    to: &'static str,
    definition: String,
}

/// Brokers of one generation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Broker {
    UpTo42,
    From43,
}

fn policies(prefix: &str, broker: Broker) -> [Policy; 3] {
    let literal = prefix.replace('.', "\\.");
    let retry = match broker {
        Broker::UpTo42 => "",
        Broker::From43 => {
            r#","delayed-retry-type":"failed","delayed-retry-min":1000,"delayed-retry-max":30000"#
        }
    };
    let policy = |name: &str, pattern: &str, to: &'static str, definition: String| Policy {
        name: format!("{prefix}-{name}"),
        pattern: format!("^{literal}\\.{pattern}$"),
        to,
        definition,
    };
    [
        policy(
            "commands",
            "commands\\.q",
            "queues",
            format!(
                r#"{{"dead-letter-exchange":"{prefix}.dlx","dead-letter-strategy":"at-least-once","overflow":"reject-publish","max-length-bytes":1073741824,"delivery-limit":5{retry}}}"#
            ),
        ),
        policy(
            "unrouted",
            "commands",
            "exchanges",
            format!(r#"{{"alternate-exchange":"{prefix}.unrouted"}}"#),
        ),
        policy(
            "dead",
            "dead\\.q",
            "queues",
            String::from(
                r#"{"message-ttl":604800000,"max-length-bytes":1073741824,"overflow":"drop-head"}"#,
            ),
        ),
    ]
}

/// The policies for these options, as commands for a shell.
#[must_use]
pub fn rabbitmq_policies(options: &Options) -> String {
    let url = options.rabbitmq_url.as_ref().and_then(|url| url.expose().parse::<AMQPUri>().ok());
    let vhost = url.map_or_else(|| String::from("/"), |uri| uri.vhost);
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let mut out = String::new();
    for (broker, title) in [
        (Broker::UpTo42, "RabbitMQ up to 4.2"),
        (Broker::From43, "RabbitMQ from 4.3 on, by its documentation; not tested with it"),
    ] {
        let _infallible = writeln!(out, "# {title}");
        for policy in policies(&options.rabbitmq_prefix, broker) {
            let Policy { name, pattern, to, definition } = policy;
            let _infallible = writeln!(
                out,
                "rabbitmqctl set_policy --vhost {} --apply-to {to} {name} {} {}",
                quoted(&vhost),
                quoted(&pattern),
                quoted(&definition),
            );
        }
        let _infallible = writeln!(out, "\n# The same by the management plugin's HTTP");
        for policy in policies(&options.rabbitmq_prefix, broker) {
            let Policy { name, pattern, to, definition } = policy;
            let pattern = pattern.replace('\\', "\\\\");
            let body =
                format!(r#"{{"pattern":"{pattern}","apply-to":"{to}","definition":{definition}}}"#);
            let _infallible = writeln!(
                out,
                "curl -u USER:PASSWORD -X PUT -H 'Content-Type: application/json' \
                 http://BROKER:15672/api/policies/{}/{name} -d {}",
                percent(&vhost),
                quoted(&body),
            );
        }
        out.push('\n');
    }
    out
}

fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn definitions_are_json_and_name_what_is_declared() {
        for broker in [Broker::UpTo42, Broker::From43] {
            for policy in policies("my.app", broker) {
                let value: serde_json::Value =
                    serde_json::from_str(&policy.definition).expect("JSON");
                assert!(value.is_object() && policy.pattern.starts_with("^my\\.app\\."));
            }
        }
        let url = Secret::new("amqp://u:hush@h/it%27s");
        let options = Options { rabbitmq_url: Some(url), ..Options::default() };
        let text = rabbitmq_policies(&options);
        assert!(text.contains(r"--vhost 'it'\''s' --apply-to queues sio-commands"), "{text}");
        assert!(text.contains("/api/policies/it%27s/sio-dead -d"), "{text}");
        assert!(!text.contains("hush"));
        assert_eq!(text.matches("delayed-retry-type").count(), 2);
    }
}

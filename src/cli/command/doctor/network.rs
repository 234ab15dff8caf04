//! The pod network: whether its agent can make it.

use crate::cli::apply::network;
use crate::cli::command::doctor::Outcome;
use crate::cli::failure::Failure;
use crate::runtime::idmap::IdMap;
use crate::store::Store;

/// Starts an agent, which ends at once, or asks the one that serves pods.
pub(super) fn pod_network(store: Result<Store, Failure>, ids: &IdMap) -> Outcome {
    match store {
        Ok(store) => outcome(network::trial(&store, ids)),
        Err(_) => Outcome::Limited(
            "there is no place for its socket".to_owned(),
            "see `store`".to_owned(),
        ),
    }
}

/// Of what the agent says: why there are no rules, or why there is no network.
fn outcome(said: Result<Option<String>, String>) -> Outcome {
    match said {
        Ok(None) => Outcome::Pass(
            "a bridge, wires, and nf_tables for Services and the outside work".to_owned(),
        ),
        Ok(Some(why)) => Outcome::Limited(
            format!("pods reach one another, but neither Services nor the outside: {why}"),
            "modprobe nf_tables nft_nat nft_tproxy nft_redir (as root)".to_owned(),
        ),
        Err(why) => Outcome::Limited(
            format!("pods reach nothing but themselves and what is published: {why}"),
            "modprobe bridge veth (as root); inside another container podrun needs CAP_NET_ADMIN or user namespaces"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_what_it_costs() {
        for (said, word, words) in [
            (Ok(None), "ok", "Services and the outside work"),
            (Ok(Some("why".to_owned())), "note", "neither Services nor"),
            (Err("why".to_owned()), "note", "nothing but themselves"),
        ] {
            let outcome = outcome(said);
            let (found, text, mend) = outcome.parts();
            assert_eq!(found, word);
            assert!(text.contains(words), "{text}");
            assert_eq!(mend.is_some(), word != "ok");
        }
    }
}

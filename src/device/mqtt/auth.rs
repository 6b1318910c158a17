//! Who may connect: user names and passwords against PHC strings of argon2id (RFC 9106).
//!
//! Guarantees: at most one hash is computed at a time (each takes megabytes), never on a thread of the runtime; a wrong
//! user costs what a wrong password costs; a success is remembered under a keyed hash of user, password and PHC string,
//! so that a storm of reconnects is cheap and a changed hash is asked for again at once. No password is ever kept.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::Semaphore;

use super::Access;
use super::packet::Refusal;

/// Remembered successes; at the bound all are forgotten.
const KNOWN_MAX: usize = 4096;
/// Memory of a hash made here, KiB. The password is random, so the smallest of the usual parameter sets will do.
const MEMORY_KIB: u32 = 7 * 1024;
const PASSES: u32 = 5;
/// What an unknown user is checked against: same cost, and no password fits.
const NOBODY: &str =
    "$argon2id$v=19$m=7168,t=5,p=1$c21hbGxicmFpbm5vYm9keQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// 32 letters that are not mistaken for each other: 5 bits each.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Why no credential can be made or checked.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No randomness.
    #[error("random numbers of the system: {0}")]
    Random(#[from] getrandom::Error),
    /// The hash cannot be computed.
    #[error("argon2id: {0}")]
    Hash(#[from] argon2::password_hash::Error),
    /// Its parameters are wrong.
    #[error("argon2id parameters: {0}")]
    Params(#[from] argon2::Error),
}

/// A new credential: a random password of 24 letters (120 bits) and its PHC string for the configuration. Takes tens of
/// milliseconds.
///
/// # Errors
/// [`AuthError`] when the system has no randomness or memory.
pub fn generate() -> Result<(String, String), AuthError> {
    let mut random = [0; 24];
    getrandom::fill(&mut random)?;
    let password: String = random.iter().map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(MEMORY_KIB, PASSES, 1, None)?);
    let hash: PasswordHash = argon2.hash_password(password.as_bytes())?;
    Ok((password, hash.to_string()))
}

/// The credential that a connection was let in with.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Credential {
    Anonymous,
    User { name: String, password_hash: String },
}

impl Credential {
    /// Whether it would still be let in.
    pub(super) fn holds(&self, access: &Access) -> bool {
        match self {
            Credential::Anonymous => access.anonymous,
            Credential::User { name, password_hash } => {
                access.users.get(name).is_some_and(|user| user.password_hash == *password_hash)
            }
        }
    }

    /// The name, empty when anonymous.
    pub(super) fn name(&self) -> &str {
        match self {
            Credential::Anonymous => "",
            Credential::User { name, .. } => name,
        }
    }
}

/// See the module.
pub(super) struct Gate {
    key: [u8; 32],
    known: Mutex<HashSet<[u8; 32]>>,
    turn: Arc<Semaphore>,
}

impl Gate {
    pub(super) fn new() -> Result<Self, AuthError> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self { key, known: Mutex::default(), turn: Arc::new(Semaphore::new(1)) })
    }

    /// Lets a client in, or says why not.
    pub(super) async fn admit(
        &self,
        access: &Access,
        login: Option<(String, String)>,
    ) -> Result<Credential, Refusal> {
        let open = access.anonymous && (login.is_none() || access.users.is_empty());
        let (name, password) = match login {
            _ if open => return Ok(Credential::Anonymous),
            None => return Err(Refusal::NotAuthorised),
            Some(login) => login,
        };
        let user = access.users.get(&name);
        let password_hash = user.map_or(NOBODY, |user| &user.password_hash).to_owned();
        let tag = self.tag(&name, &password, &password_hash);
        if !self.known().contains(&tag) {
            let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else { return Err(Refusal::Busy) };
            let phc = password_hash.clone();
            // The turn goes along: it ends with the computation, even when nobody waits for it any more.
            let verified = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                verify(&password, &phc)
            });
            match verified.await {
                Ok(true) if user.is_some() => {
                    let mut known = self.known();
                    if known.len() >= KNOWN_MAX {
                        known.clear();
                    }
                    known.insert(tag);
                }
                Ok(_) => return Err(Refusal::Password),
                Err(_) => return Err(Refusal::Busy),
            }
        }
        Ok(Credential::User { name, password_hash })
    }

    fn tag(&self, name: &str, password: &str, password_hash: &str) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length will do");
        for part in [name, password, password_hash] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<[u8; 32]>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the password fits; a PHC string that is none fits nothing.
fn verify(password: &str, phc: &str) -> bool {
    PasswordHash::new(phc)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::mqtt::User;

    fn access(anonymous: bool, users: &[(&str, &str)]) -> Access {
        let user = |(name, hash): &(&str, &str)| {
            (name.to_string(), User { password_hash: hash.to_string(), rights: Arc::default() })
        };
        Access { anonymous, users: users.iter().map(user).collect() }
    }

    fn login(name: &str, password: &str) -> Option<(String, String)> {
        Some((name.into(), password.into()))
    }

    #[tokio::test]
    async fn only_the_right_password_opens() {
        let (password, hash) = generate().expect("a credential");
        assert_eq!(password.len(), 24);
        let gate = Gate::new().expect("randomness");
        let users = access(false, &[("meter", &hash), ("broken", "plain")]);
        for (login, expected) in [
            (login("meter", &password), Ok("meter")),
            (login("meter", &password), Ok("meter")),
            (login("meter", "wrong"), Err(Refusal::Password)),
            (login("nobody", &password), Err(Refusal::Password)),
            (login("broken", "plain"), Err(Refusal::Password)),
            (None, Err(Refusal::NotAuthorised)),
        ] {
            let admitted = gate.admit(&users, login).await;
            assert_eq!(admitted.as_ref().map(Credential::name), expected.as_ref().map(|name| *name));
        }
        assert_eq!(gate.known().len(), 1);

        let (_, other) = generate().expect("a credential");
        let credential = gate.admit(&users, login("meter", &password)).await.expect("still right");
        let changed = access(false, &[("meter", &other)]);
        assert!(credential.holds(&users) && !credential.holds(&changed));
        assert_eq!(gate.admit(&changed, login("meter", &password)).await, Err(Refusal::Password));
    }

    #[tokio::test]
    async fn anonymous_clients_need_an_open_door() {
        let gate = Gate::new().expect("randomness");
        let (_, hash) = generate().expect("a credential");
        for (access, login, expected) in [
            (access(true, &[]), None, Ok(Credential::Anonymous)),
            (access(true, &[]), login("any", "thing"), Ok(Credential::Anonymous)),
            (access(true, &[("meter", &hash)]), None, Ok(Credential::Anonymous)),
            (access(true, &[("meter", &hash)]), login("meter", "wrong"), Err(Refusal::Password)),
            (access(false, &[]), None, Err(Refusal::NotAuthorised)),
        ] {
            assert_eq!(gate.admit(&access, login).await, expected);
        }
    }

    #[test]
    fn nobody_is_a_hash_of_the_same_cost() {
        let (_, hash) = generate().expect("a credential");
        let cost = |phc: &str| PasswordHash::new(phc).expect("a PHC string").params.to_string();
        assert_eq!(cost(NOBODY), cost(&hash));
    }
}

//! Who may connect: user names and passwords against PHC strings of argon2id (RFC 9106), or the names in a client
//! certificate that the handshake has verified; and as whom, with which rights.
//!
//! Guarantees: a certificate that is a user's makes its connection that user and no other; at most one hash is computed at a time (each takes megabytes), never on a thread of the runtime; a wrong
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
use super::rights::Rights;

/// Remembered successes; at the bound all are forgotten.
const KNOWN_MAX: usize = 4096;
/// Memory of a hash made here, KiB. The password is random, so the smallest of the usual parameter sets will do.
const MEMORY_KIB: u32 = 7 * 1024;
const PASSES: u32 = 5;
/// What an unknown user is checked against: same cost, and no password fits.
pub const NOBODY: &str =
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

/// As whom a connection was let in, because of what, and what it may do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Credential {
    name: String,
    proof: Proof,
    rights: Arc<Rights>,
}

#[derive(Clone, Debug, PartialEq)]
enum Proof {
    /// The door is open.
    Nothing,
    /// A password that fits this PHC string.
    Password(String),
    /// A certificate with this name.
    Certificate(String),
}

impl Credential {
    /// None when this proof of this user does not let in.
    fn of(access: &Access, name: String, proof: Proof) -> Option<Self> {
        let user = access.users.get(&name);
        let rights = match &proof {
            Proof::Nothing => access.anonymous.then(|| Arc::new(Rights::everything())),
            Proof::Password(hash) => user
                .filter(|user| user.password_hash.as_ref() == Some(hash))
                .map(|user| Arc::clone(&user.rights)),
            Proof::Certificate(certificate) => user
                .filter(|_| access.certificates.get(certificate) == Some(&name))
                .map(|user| Arc::clone(&user.rights)),
        }?;
        Some(Self { name, proof, rights })
    }

    /// Takes over the rights of a changed access; false when it would not be let in any more.
    #[must_use]
    pub(super) fn refresh(&mut self, access: &Access) -> bool {
        let present = Self::of(access, self.name.clone(), self.proof.clone());
        let holds = present.is_some();
        self.rights = present.map_or_else(Arc::default, |present| present.rights);
        holds
    }

    /// The name of the user, empty when anonymous.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What it may do.
    pub(super) fn rights(&self) -> &Arc<Rights> {
        &self.rights
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

    /// Lets a client in, or says why not. `login` is the user name and password of its CONNECT; `certificate` the names
    /// in its verified certificate, none of them when it showed none, and `None` in plain text.
    pub(super) async fn admit(
        &self,
        access: &Access,
        login: Option<(String, String)>,
        certificate: Option<&[String]>,
    ) -> Result<Credential, Refusal> {
        let names = certificate.unwrap_or_default();
        if let Some(credential) = certified(access, login.as_ref().map(|(name, _)| &**name), names)? {
            return Ok(credential);
        }
        let open = access.anonymous && certificate.is_none() && (login.is_none() || access.users.is_empty());
        let (name, proof) = match login {
            _ if open => (String::new(), Proof::Nothing),
            None => return Err(Refusal::NotAuthorised),
            Some((name, password)) => {
                let hash = self.fits(access, &name, password).await?;
                (name, Proof::Password(hash))
            }
        };
        Credential::of(access, name, proof).ok_or(Refusal::Password)
    }

    /// The PHC string that the password of a user fits.
    async fn fits(&self, access: &Access, name: &str, password: String) -> Result<String, Refusal> {
        let hash = access.users.get(name).and_then(|user| user.password_hash.clone());
        let is_user = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
        let tag = self.tag(name, &password, &hash);
        if self.known().contains(&tag) {
            return Ok(hash);
        }
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else { return Err(Refusal::Busy) };
        let phc = hash.clone();
        // The turn goes along: it ends with the computation, even when nobody waits for it any more.
        let verified = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            verify(&password, &phc)
        });
        match verified.await {
            Ok(true) if is_user => {
                let mut known = self.known();
                if known.len() >= KNOWN_MAX {
                    known.clear();
                }
                known.insert(tag);
                Ok(hash)
            }
            Ok(_) => Err(Refusal::Password),
            Err(_) => Err(Refusal::Busy),
        }
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

/// The user that a name in a certificate is, if one is. Of several users it is the one that logs in, or the first; a
/// login of anybody else is refused, whatever the password.
fn certified(access: &Access, login: Option<&str>, names: &[String]) -> Result<Option<Credential>, Refusal> {
    let mut bound = names.iter().filter_map(|name| Some((name, access.certificates.get(name)?))).peekable();
    if bound.peek().is_none() {
        return Ok(None);
    }
    let found = bound.find(|(_, user)| login.is_none_or(|login| *user == login));
    let credential =
        found.and_then(|(name, user)| Credential::of(access, user.clone(), Proof::Certificate(name.clone())));
    credential.map(Some).ok_or(Refusal::NotAuthorised)
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
            let password_hash = (!hash.is_empty()).then(|| hash.to_string());
            (name.to_string(), User { password_hash, rights: rights_of(name) })
        };
        Access { anonymous, users: users.iter().map(user).collect(), ..Access::default() }
    }

    fn bind(mut access: Access, certificates: &[(&str, &str)]) -> Access {
        let bound =
            certificates.iter().map(|(certificate, user)| (certificate.to_string(), user.to_string()));
        access.certificates = bound.collect();
        access
    }

    /// Something by which they can be told apart.
    fn rights_of(name: &str) -> Arc<Rights> {
        Arc::new(Rights { publish: [name].into_iter().collect(), ..Rights::default() })
    }

    fn login(name: &str, password: &str) -> Option<(String, String)> {
        Some((name.into(), password.into()))
    }

    #[tokio::test]
    async fn only_the_right_password_opens() {
        let (password, hash) = generate().expect("a credential");
        assert_eq!(password.len(), 24);
        let gate = Gate::new().expect("randomness");
        let users = access(false, &[("meter", &hash), ("broken", "plain"), ("none", "")]);
        for (login, expected) in [
            (login("meter", &password), Ok("meter")),
            (login("meter", &password), Ok("meter")),
            (login("meter", "wrong"), Err(Refusal::Password)),
            (login("nobody", &password), Err(Refusal::Password)),
            (login("broken", "plain"), Err(Refusal::Password)),
            (login("none", ""), Err(Refusal::Password)),
            (None, Err(Refusal::NotAuthorised)),
        ] {
            let admitted = gate.admit(&users, login, None).await;
            assert_eq!(admitted.as_ref().map(Credential::name), expected.as_ref().map(|name| *name));
        }
        assert_eq!(gate.known().len(), 1);

        let (_, other) = generate().expect("a credential");
        let mut credential = gate.admit(&users, login("meter", &password), None).await.expect("still right");
        assert_eq!(*credential.rights(), rights_of("meter"));
        let changed = access(false, &[("meter", &other)]);
        assert!(credential.refresh(&users) && !credential.refresh(&changed));
        assert_eq!(**credential.rights(), Rights::default());
        assert_eq!(gate.admit(&changed, login("meter", &password), None).await, Err(Refusal::Password));
    }

    #[tokio::test]
    async fn anonymous_clients_need_an_open_door() {
        let gate = Gate::new().expect("randomness");
        let (_, hash) = generate().expect("a credential");
        let opened = Ok(("", Arc::new(Rights::everything())));
        for (access, login, certificate, expected) in [
            (access(true, &[]), None, None, opened.clone()),
            (access(true, &[]), login("any", "thing"), None, opened.clone()),
            (access(true, &[("meter", &hash)]), None, None, opened.clone()),
            (access(true, &[("meter", &hash)]), login("meter", "wrong"), None, Err(Refusal::Password)),
            (access(true, &[]), None, Some(&[][..]), Err(Refusal::NotAuthorised)),
            (access(false, &[]), None, None, Err(Refusal::NotAuthorised)),
        ] {
            let admitted = gate.admit(&access, login, certificate).await;
            let admitted =
                admitted.as_ref().map(|credential| (credential.name(), Arc::clone(credential.rights())));
            assert_eq!(admitted.map_err(|refusal| *refusal), expected);
        }
    }

    #[tokio::test]
    async fn a_certificate_is_its_user_and_no_other() {
        let gate = Gate::new().expect("randomness");
        let (password, hash) = generate().expect("a credential");
        let users = access(false, &[("door-1", ""), ("gate", &hash), ("meter", &hash)]);
        let users = bind(users, &[("d1.example", "door-1"), ("gw", "gate")]);
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        for (login, certificate, expected) in [
            (None, &["d1.example"][..], Ok("door-1")),
            (None, &["other", "d1.example"], Ok("door-1")),
            (login("door-1", "anything"), &["d1.example"], Ok("door-1")),
            (login("meter", &password), &["d1.example"], Err(Refusal::NotAuthorised)),
            (None, &["gw", "d1.example"], Ok("gate")),
            (login("door-1", ""), &["gw", "d1.example"], Ok("door-1")),
            (login("gate", &password), &[], Ok("gate")),
            (login("gate", "wrong"), &[], Err(Refusal::Password)),
            (login("door-1", ""), &[], Err(Refusal::Password)),
            (login("meter", &password), &["stranger"], Ok("meter")),
            (None, &["stranger", "door-1"], Err(Refusal::NotAuthorised)),
        ] {
            let admitted = gate.admit(&users, login, Some(&names(certificate))).await;
            let name = admitted.as_ref().map(Credential::name).map_err(|refusal| *refusal);
            assert_eq!(name, expected, "{certificate:?}");
        }

        let mut credential = gate.admit(&users, None, Some(&names(&["gw"]))).await.expect("bound");
        let mut moved = users.clone();
        moved.users.insert("gate".into(), User { password_hash: None, rights: rights_of("less") });
        assert!(credential.refresh(&moved), "no password let it in");
        assert_eq!(*credential.rights(), rights_of("less"));
        for certificates in [&[][..], &[("gw", "door-1")]] {
            assert!(!credential.refresh(&bind(moved.clone(), certificates)), "{certificates:?}");
        }
    }

    #[test]
    fn nobody_is_a_hash_of_the_same_cost() {
        let (_, hash) = generate().expect("a credential");
        let cost = |phc: &str| PasswordHash::new(phc).expect("a PHC string").params.to_string();
        assert_eq!(cost(NOBODY), cost(&hash));
    }
}

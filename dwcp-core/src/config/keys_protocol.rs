//! `protocol`, `byzantine`, `security`.

use super::Mode;
use super::names::FilePath;
use super::section::section;
use super::setting::Auto;
use super::units::{Share, Size, Time};
use super::words::words;

section! {
    mode;
    /// Compression and encryption.
    pub struct Protocol {
        /// The protocol's version.
        "version" version: u8 [3, 3] = 3;
        /// Compression of TCP paths.
        "compression" compression: Compression = Compression::defaults(mode);
        /// Encryption.
        "encryption" encryption: Encryption = Encryption::defaults(mode);
    }
}

words! {
    /// How frames are compressed.
    pub enum CompressionAlgorithm {
        /// Zstandard.
        Zstd "zstd",
        /// Not at all.
        None "none",
    } refused {
        "lz4" "DWCP 3 compresses with zstd; level 1 is as fast where it matters",
        "gzip" "DWCP 3 compresses with zstd",
        "snappy" "DWCP 3 compresses with zstd",
    }
}

section! {
    mode;
    /// Compression of TCP paths. RDMA paths never compress.
    pub struct Compression {
        /// Whether frames are compressed where it helps. Default: not in datacenter mode.
        "enabled" enabled: bool = mode != Mode::Datacenter;
        /// How.
        "algorithm" algorithm: CompressionAlgorithm = CompressionAlgorithm::Zstd;
        /// 1 (fast) to 19 (small). `auto` follows the bottleneck, link or processor.
        "level" level: Auto<u8> [1, 19] = Auto::Auto;
        /// Smaller frames are sent as they are.
        "minSize" min_size: Size [Size::new(0), Size::mib(1)] = Size::new(1000);
    }
}

words! {
    /// How records are encrypted.
    pub enum EncryptionAlgorithm {
        /// AES-256-GCM.
        Aes256Gcm "aes-256-gcm",
        /// Not at all; trusted media only.
        None "none",
    } refused {
        "aes-128-gcm" "DWCP 3 encrypts with aes-256-gcm",
        "aes-256-cbc" "CBC does not authenticate; DWCP 3 encrypts with aes-256-gcm",
        "chacha20-poly1305" "DWCP 3 encrypts with aes-256-gcm, which processors do in hardware",
    }
}

words! {
    /// The library that encrypts.
    pub enum EncryptionLibrary {
        /// aws-lc-rs: fastest.
        AwsLcRs "aws-lc-rs",
        /// aes-gcm: portable Rust.
        AesGcm "aes-gcm",
    }
}

section! {
    mode;
    /// Encryption. TCP paths are always encrypted; `enabled: false` concerns RDMA paths in a trusted network.
    pub struct Encryption {
        /// Whether RDMA paths are encrypted, too. Internet mode wants true.
        "enabled" enabled: bool = true;
        /// How.
        "algorithm" algorithm: EncryptionAlgorithm = EncryptionAlgorithm::Aes256Gcm;
        /// The library that does it. Both speak to each other.
        "implementation" implementation: Auto<EncryptionLibrary> = Auto::Auto;
        /// In hybrid mode: leave RDMA paths unencrypted although `enabled` is true.
        "disableInDatacenter" disable_in_datacenter: bool = false;
        /// Keys are changed after this time, besides after so many records.
        "keyRotationInterval" key_rotation_interval: Time [Time::secs(60), Time::hours(720)] = Time::hours(24);
    }
}

section! {
    mode;
    /// Measures against peers that misbehave within an authenticated session.
    pub struct Byzantine {
        /// Whether they are taken. `auto`: except in datacenter mode.
        "enabled" enabled: Auto<bool> = Auto::Auto;
        /// The authentication of each record.
        "authentication" authentication: Authentication = Authentication::defaults(mode);
        /// What a peer may ask per second.
        "rateLimit" rate_limit: RateLimit = RateLimit { enabled: true, requests_per_second: Auto::Is(5000), burst_size: 10_000 };
        /// The score of a peer.
        "reputation" reputation: Reputation = Reputation::defaults(mode);
        /// How long a peer whose score fell too low is refused.
        "quarantine" quarantine: Time [Time::secs(1), Time::hours(720)] = Time::secs(600);
        /// Violations are written here, one JSON line each.
        "evidenceLog" evidence_log: Option<FilePath> = None;
    }
}

words! {
    /// How each record is authenticated.
    pub enum AuthenticationMethod {
        /// HMAC-SHA256.
        HmacSha256 "hmac-sha256",
    } refused {
        "jwt" "records are authenticated by hmac-sha256, nodes by their certificates",
        "none" "every record is authenticated",
    }
}

section! {
    mode;
    /// The authentication of each record.
    pub struct Authentication {
        /// HMAC-SHA256, beside the AES-GCM tag.
        "method" method: AuthenticationMethod = AuthenticationMethod::HmacSha256;
    }
}

section! {
    mode;
    /// A limit on requests.
    pub struct RateLimit {
        /// Whether it holds.
        "enabled" enabled: bool = true;
        /// Requests per second in the long run. `auto`: no more than this node can serve.
        "requestsPerSecond" requests_per_second: Auto<u32> [1, 100_000_000] = Auto::Auto;
        /// Requests at once.
        "burstSize" burst_size: u32 [1, 100_000_000] = 1000;
    }
}

section! {
    mode;
    /// The score of a peer, from 1 (flawless) down to 0.
    pub struct Reputation {
        /// Whether peers are scored.
        "enabled" enabled: bool = true;
        /// Below this a peer is reported.
        "minReputation" min_reputation: Share = Share::new(0.5);
        /// Below this it is quarantined.
        "blacklistThreshold" blacklist_threshold: Share = Share::new(0.1);
        /// Half of what was lost comes back in this time.
        "decayInterval" decay_interval: Time [Time::secs(1), Time::hours(720)] = Time::hours(1);
    }
}

section! {
    mode;
    /// TLS and handshake limits.
    pub struct Security {
        /// The TLS handshake.
        "tls" tls: Tls = Tls::defaults(mode);
        /// Handshakes that one address (IPv4, or the /64 of IPv6) may begin.
        "rateLimit" rate_limit: RateLimit = RateLimit { enabled: true, requests_per_second: Auto::Is(100), burst_size: 1000 };
    }
}

words! {
    /// A version of TLS.
    pub enum TlsVersion {
        /// TLS 1.3.
        Tls13 "TLS1.3",
    } refused {
        "TLS1.2" "DWCP 3 speaks TLS 1.3 only",
        "TLS1.1" "DWCP 3 speaks TLS 1.3 only",
        "TLS1.0" "DWCP 3 speaks TLS 1.3 only",
    }
}

section! {
    mode;
    /// The TLS handshake.
    pub struct Tls {
        /// The oldest version that is spoken.
        "minVersion" min_version: TlsVersion = TlsVersion::Tls13;
    }
}

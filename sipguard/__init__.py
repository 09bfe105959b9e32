"""sipguard: a SIP-aware firewall and caller-identity verifier that reads and never rewrites."""

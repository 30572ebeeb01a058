-- What a login by SCRAM-SHA-256 is checked against. Users from before have none until they get a new password.
ALTER TABLE users ADD COLUMN scram_verifier TEXT;

-- Users and roles have one space of names. 'public' is everybody, members of 'admin' may do everything.
CREATE TABLE roles (
    name TEXT NOT NULL PRIMARY KEY
);
INSERT INTO roles (name) VALUES ('admin'), ('public');

CREATE TABLE role_members (
    role TEXT NOT NULL REFERENCES roles (name),
    member TEXT NOT NULL,
    PRIMARY KEY (role, member)
);
CREATE INDEX role_members_by_member ON role_members (member);
-- Until now every user might do everything.
INSERT INTO role_members (role, member) SELECT 'admin', name FROM users;

-- What is granted: on the catalog (on_id ''), a schema (its name) or an object (its id); on all columns ('') or one.
CREATE TABLE grants (
    grantee TEXT NOT NULL,
    privilege TEXT NOT NULL,
    on_kind TEXT NOT NULL,
    on_id TEXT NOT NULL,
    column_name TEXT NOT NULL,
    granted_by TEXT NOT NULL,
    granted_at BIGINT NOT NULL,
    PRIMARY KEY (grantee, privilege, on_kind, on_id, column_name)
);
CREATE INDEX grants_by_object ON grants (on_kind, on_id);

ALTER TABLE objects ADD COLUMN policy TEXT NOT NULL DEFAULT '{}';

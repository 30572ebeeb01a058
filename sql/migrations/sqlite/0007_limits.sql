-- What the members of a role may use: a JSON object of whole numbers.
ALTER TABLE roles ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';

-- What a run says of itself: its ledger of rows, its checks, the strategies it did not take. JSON.
ALTER TABLE runs ADD COLUMN report TEXT;

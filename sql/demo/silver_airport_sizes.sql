-- Each month brings one event for each airport; equal months are one row. An airport that no flight
-- leaves any more, such as one in the mountains after the snow, ends until it comes back.
CREATE OR REFRESH STREAMING TABLE silver.airport_sizes
COMMENT 'From when to when each airport had which size: small, medium from 50, large from 200 departures a day'
FLOW AUTO CDC FROM STREAM raw.airport_months
  KEYS (airport)
  APPLY AS DELETE WHEN departures = 0
  SEQUENCE BY month
  COLUMNS airport, size
  STORED AS SCD TYPE 2;

"""`rollup`: counts the predictions of hours that are over."""

"""What the pages share: frame, typed state, controls, charts, token strip and texts."""

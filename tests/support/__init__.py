"""What tests share: real databases, made once a session and emptied for each test."""

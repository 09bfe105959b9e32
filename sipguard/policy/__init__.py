"""The policy language: text to frozen rules, rules and a message to a ruling."""

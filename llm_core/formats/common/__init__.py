"""Convert what all formats share: chats, a recipe's fields by name, results with dropped fields."""

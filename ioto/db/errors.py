"""What the database raises: each says which model and field, and what was expected. All are DbError."""


class DbError(Exception):
    """A call that cannot be done: `.reason`, and where it applies `.model` and `.field`, a path as address.lines[0]."""

    def __init__(self, reason, model='', field=''):
        super().__init__(reason, model, field)
        self.reason, self.model, self.field = reason, model, field

    def __str__(self):
        where = '.'.join(filter(None, (self.model, self.field)))
        return f'{where}: {self.reason}' if where else self.reason

    def within(self, step):
        """Put the name, or [n], of what holds the field before it, and return the error."""
        self.field = f'{step}{"." if self.field and self.field[0] != "[" else ""}{self.field}'
        return self


class Conflict(DbError):
    """What is stored forbids a change: a key or unique value that is there, or is not, or a condition that is not met."""


class SchemaError(DbError, ValueError):
    """A schema that cannot be used: `.field` is the path in it, such as models.User.email.type; `.file`."""
    file = ''

    def __str__(self):
        return f'{self.file}: {DbError.__str__(self)}' if self.file else DbError.__str__(self)

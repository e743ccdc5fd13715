"""Whether an answer has begun: after its first byte nobody can answer anything else."""


class Begun:
    """In each request's scope as `begun`; `Application` notes there what is sent."""

    yes = False

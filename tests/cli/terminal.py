"""A shell at a terminal, typed at."""
import os
import pty
import select
import time


class Terminal:
    """A program on a terminal of its own, until the end of a `with`."""

    def __init__(self, test, program, words, folder, env):
        self.test, self.seen = test, b""
        self.pid, self.end = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(program, words, env)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.end)
        os.waitpid(self.pid, 0)

    def type(self, text, becomes):
        """Types bytes, and waits up to 20 s for what then stands there."""
        os.write(self.end, text)
        stop = time.time() + 20
        while becomes not in self.seen and time.time() < stop:
            if select.select([self.end], [], [], 0.1)[0]:
                self.seen += os.read(self.end, 4096)
        self.test.assertIn(becomes, self.seen)
        self.seen = b""

    def erase_line(self):
        os.write(self.end, b"\x15")

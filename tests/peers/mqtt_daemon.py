"""The gateway that the MQTT peers meet: with users, with certificates, and killed when a peer wants it.

A user with a password (`door-1`), one with a client certificate (`lock-1`), and anybody without a login. The certificates
are made by openssl; those of the strangers come from an authority that the gateway does not know.
"""

import pathlib
import signal
import socket
import subprocess
import time

PATIENCE_S = 20
CERTIFIED = "lock-1.compound.example"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Daemon:
    def __init__(self, smallbrain, work):
        self.smallbrain, self.work = str(pathlib.Path(smallbrain).resolve()), pathlib.Path(work).resolve()
        self.work.mkdir(parents=True)
        self.work.joinpath("store").mkdir(mode=0o700)
        self.port, self.tls_port = free_port(), free_port()
        self.config, self.ports = "mqtt.toml", (self.port, self.tls_port)
        text = pathlib.Path(__file__).with_name("mqtt.toml").read_text()
        for word, value in [("WORK", self.work), ("PLAIN_PORT", self.port), ("TLS_PORT", self.tls_port)]:
            text = text.replace(word, str(value))
        self.work.joinpath("mqtt.toml").write_text(text)
        self._users()
        self._certificates()
        self._process = None

    def _users(self):
        added = self._run(self.smallbrain, "device", "add", "door-1")
        self.password = added.split("password of door-1: ")[1].split()[0]
        certified = self._run(self.smallbrain, "device", "add", "lock-1", "--certificate", CERTIFIED)
        self.work.joinpath("users.toml").write_text(added + certified)

    def _certificates(self):
        for authority in ["gateway-ca", "devices-ca", "strangers-ca"]:
            self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                          "-days", "2", "-subj", f"/CN={authority}", "-addext", "keyUsage=critical,keyCertSign",
                          "-keyout", f"{authority}.key", "-out", f"{authority}.pem")
        for name, authority, subject, alternative in [
            ("gateway", "gateway-ca", "localhost", "DNS:localhost,IP:127.0.0.1"),
            ("lock-1", "devices-ca", CERTIFIED, f"DNS:{CERTIFIED}"),
            ("nobody", "devices-ca", "nobody.example", "DNS:nobody.example"),
            ("stranger", "strangers-ca", CERTIFIED, f"DNS:{CERTIFIED}"),
        ]:
            self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                          "-subj", f"/CN={subject}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
            self.work.joinpath("names").write_text(f"subjectAltName={alternative}\n")
            self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey",
                          f"{authority}.key", "-CAcreateserial", "-days", "2", "-extfile", "names",
                          "-out", f"{name}.pem")
        self.work.joinpath("gateway.key").chmod(0o600)

    def _openssl(self, *words):
        self._run("openssl", *words)

    def _run(self, *words):
        done = subprocess.run(words, cwd=self.work, capture_output=True, text=True, timeout=PATIENCE_S)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr}{done.stdout}")
        return done.stdout

    def file(self, name):
        return str(self.work / name)

    def start(self):
        with open(self.work / "log", "ab") as log:
            command = [self.smallbrain, "run", "--config", self.file(self.config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                for port in self.ports:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                return self
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the gateway does not listen: {self.last_words()}") from None
                time.sleep(0.02)

    def kill(self):
        """As a power cut ends it, as far as the process can tell."""
        self._end(signal.SIGKILL)

    def stop(self):
        """As systemd ends it; its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, by):
        process, self._process = self._process, None
        process.send_signal(by)
        return process.wait(PATIENCE_S)

    def last_words(self):
        return self.work.joinpath("log").read_text()[-2000:]

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self._process is not None:
            self.kill()

// What generated code must not be able to do, tried one by one in a real sandbox.

#include "distill/verify/sandbox.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>

#include "core/parallel.h"
#include "distill/verify/runners.h"
#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;

namespace {

using Seconds = std::chrono::duration<double>;

const SandboxLimits kTight{.wall_seconds = 20,
                           .cpu_seconds = 5,
                           .memory = 128ULL << 20,
                           .tasks = 24,
                           .output = 1ULL << 16,
                           .file_size = 1ULL << 20,
                           .disk = 4ULL << 20};

Outcome python(const std::string& code, const SandboxLimits& limits = kTight) {
  return Sandbox(limits).run(make_program(Language::kPython, code));
}

Outcome shell(const std::string& code, const SandboxLimits& limits = kTight) {
  return Sandbox(limits).run(make_program(Language::kShell, code));
}

/// Verdict, step and streams in one line, for messages of failed checks.
std::string shown(const Outcome& outcome) { return dump_json(outcome_json(outcome)); }

/// Processes of this machine whose command line holds `word`.
int processes_with(const std::string& word) {
  int count = 0;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "cmdline", std::ios::binary);
    const std::string line{std::istreambuf_iterator<char>(file), {}};
    if (line.find(word) != std::string::npos) ++count;
  }
  return count;
}

}  // namespace

TEST_CASE("sandbox: what a program prints, reads and returns comes back") {
  const Sandbox sandbox(kTight);
  const Program program = make_program(Language::kPython,
                                       "import sys\nprint(sys.stdin.read().upper())\n"
                                       "print('to stderr', file=sys.stderr)\nsys.exit(7)\n",
                                       "input text");
  const Outcome outcome = sandbox.run(program);
  INFO(shown(outcome));
  CHECK(outcome.verdict == Verdict::kExit);
  CHECK(outcome.exit_code == 7);
  CHECK(outcome.step == "run");
  CHECK(outcome.output == "INPUT TEXT\n");
  CHECK(outcome.error == "to stderr\n");
  CHECK(outcome.cpu_seconds > 0);
  CHECK(outcome.peak_memory > 0);
  CHECK(outcome.peak_tasks >= 1);
}

TEST_CASE("sandbox: Python, C++ and sh programs run, and their syntax errors fail in step compile",
          "[slow]") {
  const Sandbox sandbox({.wall_seconds = 60, .cpu_seconds = 30});
  const auto run = [&](Language language, const char* code) {
    return sandbox.run(make_program(language, code));
  };
  const std::pair<Language, std::pair<const char*, const char*>> cases[] = {
      {Language::kPython, {"print(6 * 7)", "print(6 *"}},
      {Language::kCpp,
       {"#include <iostream>\nint main() { std::cout << 6 * 7 << '\\n'; }", "int main() {"}},
      {Language::kShell, {"echo $((6 * 7))", "if true"}}};
  for (const auto& [language, code] : cases) {
    const Outcome good = run(language, code.first);
    INFO(shown(good));
    CHECK(good.ok());
    CHECK(good.output == "42\n");
    const Outcome bad = run(language, code.second);
    INFO(shown(bad));
    CHECK(bad.verdict == Verdict::kExit);
    CHECK(bad.step == "compile");
    CHECK_FALSE(bad.error.empty());
    CHECK(bad.output.empty());
  }
  CHECK(language_version(Language::kPython, sandbox).starts_with("Python 3"));
}

TEST_CASE("sandbox: files of a program lie beside it and cannot be written") {
  Program program = make_program(Language::kPython,
                                 "import helper\nprint(helper.answer)\nopen('helper.py', 'w')\n",
                                 "", {{"helper.py", "answer = 'from helper'\n"}});
  const Outcome outcome = Sandbox(kTight).run(program);
  INFO(shown(outcome));
  CHECK(outcome.output == "from helper\n");
  CHECK(outcome.verdict == Verdict::kExit);
  program.files[0].name = "../helper.py";
  CHECK(test::error_of([&] { (void)Sandbox(kTight).run(program); })->kind() == ErrorKind::kUsage);
}

TEST_CASE("sandbox: a fork bomb is held by the process limit") {
  for (const char* code : {"import os\nwhile True:\n  try: os.fork()\n  except OSError: pass\n",
                           "import threading, time\nfor i in range(1000):\n"
                           "  threading.Thread(target=time.sleep, args=(60,)).start()\n"}) {
    const Outcome outcome = python(code);
    INFO(shown(outcome));
    CHECK(outcome.verdict == Verdict::kTasks);
    CHECK(outcome.peak_tasks > kTight.tasks);
    CHECK(outcome.peak_tasks < 200);
  }
  // Either seen above the limit, or starved by it: then every fork was refused, and it ends by
  // itself.
  const Outcome outcome = shell("b() { b | b & }; b; sleep 5");
  INFO(shown(outcome));
  CHECK((outcome.verdict == Verdict::kTasks ||
         outcome.error.find("Cannot fork") != std::string::npos));
  CHECK(outcome.peak_tasks < 200);
}

TEST_CASE("sandbox: memory bombs are held, in one process, in many, and in shared memory") {
  const char* bombs[] = {
      "x = []\nwhile True: x.append(bytearray(1 << 20))\n",
      "x = bytearray(1 << 36)\n",
      "import os, time\nfor i in range(8):\n  if os.fork() == 0:\n    x = bytearray(40 << 20)\n"
      "    time.sleep(30)\ntime.sleep(30)\n",
      "import mmap\nx = mmap.mmap(-1, 600 << 20)\nfor i in range(0, 600 << 20, 4096): x[i] = 1\n"
      "import time\ntime.sleep(30)\n",
  };
  for (const char* code : bombs) {
    const Outcome outcome = python(code);
    INFO(code);
    INFO(shown(outcome));
    CHECK(outcome.verdict == Verdict::kMemory);
    CHECK(outcome.peak_memory < (1ULL << 30));
  }
}

TEST_CASE("sandbox: endless output is cut at its limit") {
  const Outcome outcome =
      python("import sys\nfor i in range(1 << 20): sys.stdout.write('x' * 1024)\n");
  INFO(verdict_name(outcome.verdict));
  CHECK(outcome.verdict == Verdict::kOutput);
  CHECK(outcome.output.size() == kTight.output);
  CHECK(shell("yes >&2").verdict == Verdict::kOutput);
}

TEST_CASE("sandbox: an endless loop ends at the processor limit, a sleep at the wall limit",
          "[slow]") {
  SandboxLimits limits = kTight;
  limits.cpu_seconds = 1;
  const Outcome loop = python("while True: pass\n", limits);
  INFO(shown(loop));
  CHECK(loop.verdict == Verdict::kCpuTime);
  CHECK(loop.cpu_seconds < 3);
  // A soft limit that the program ignores, and time spread over children.
  CHECK(python("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass\n",
               limits)
            .verdict == Verdict::kCpuTime);
  CHECK(python("import os\nwhile True:\n  p = os.fork()\n  if p == 0:\n"
               "    for i in range(3000000): pass\n    os._exit(0)\n  os.waitpid(p, 0)\n",
               limits)
            .verdict == Verdict::kCpuTime);

  limits.wall_seconds = 1;
  const auto start = std::chrono::steady_clock::now();
  const Outcome sleep = shell("sleep 100 & sleep 100", limits);
  CHECK(sleep.verdict == Verdict::kWallTime);
  CHECK(Seconds(std::chrono::steady_clock::now() - start).count() < 10);
}

TEST_CASE("sandbox: files are held by size and by disk") {
  const Outcome file = shell("head -c 3000000 /dev/zero > big");
  INFO(shown(file));
  CHECK(file.verdict != Verdict::kOk);
  const Outcome cpp =
      Sandbox({.wall_seconds = 60, .cpu_seconds = 30, .file_size = 1 << 20})
          .run(make_program(Language::kCpp,
                            "#include <cstdio>\nint main() { auto* f = fopen(\"x\", \"w\");"
                            "for (;;) fputs(\"xxxxxxxxxxxxxxxx\", f); }"));
  INFO(shown(cpp));
  CHECK(cpp.verdict == Verdict::kFileSize);
  for (const char* folder : {"/tmp", "/work", "/dev/shm"}) {
    const Outcome disk =
        python(std::string("import errno\ntry:\n  for i in range(100):\n    open('") + folder +
               "/f%d' % i, 'w').write('x' * 1000000)\nexcept OSError as e:\n"
               "  print(errno.errorcode[e.errno])\n");
    INFO(shown(disk));
    CHECK(disk.output == "ENOSPC\n");
  }
}

TEST_CASE("sandbox: there is no network") {
  const Outcome outcome = python(
      "import socket, os\nfor family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):\n"
      "  try: socket.socket(family, socket.SOCK_DGRAM); print('made')\n"
      "  except OSError as e: print(type(e).__name__)\nprint(os.listdir('/sys') if "
      "os.path.exists('/sys') else 'no sys')\n");
  INFO(shown(outcome));
  CHECK(outcome.output == "PermissionError\nPermissionError\nPermissionError\nno sys\n");
  CHECK(shell("cat < /dev/tcp/127.0.0.1/80").verdict == Verdict::kExit);
}

TEST_CASE("sandbox: the machine's files, users and environment are not seen") {
  const test::Environment secret("LANCET_TEST_SECRET", "tell-nobody");
  const test::Scratch scratch;
  write_file(scratch / "canary", "tell-nobody");
  const Outcome outcome = python(
      "import os\nfor p in ['/etc/shadow', '/root', '/home', '/var', '/run', "
      "'/work/../proc/1/environ', "
      "'/proc/1/root/etc', '/proc/1/fd', '" +
      (scratch / "canary").string() + "', '/proc/" + std::to_string(::getpid()) +
      "/environ']:\n"
      "  try:\n    os.listdir(p) if os.path.isdir(p) else open(p).read(); print('READ', p)\n"
      "  except OSError as e: pass\n"
      "print(sorted(os.environ))\nprint(os.getuid(), os.getgid(), len([p for p in "
      "os.listdir('/proc') if p.isdigit()]))\n");
  INFO(shown(outcome));
  CHECK(outcome.ok());
  CHECK(outcome.output.find("READ") == std::string::npos);
  CHECK(outcome.output.find("tell-nobody") == std::string::npos);
  CHECK(outcome.output.find("['HOME', 'LANG', 'PATH', 'PWD', 'PYTHONHASHSEED', 'TMPDIR', 'TZ']\n"
                            "65534 65534 2\n") != std::string::npos);
}

TEST_CASE("sandbox: nothing outside /tmp and /work can be written, not through links either") {
  const test::Scratch scratch;
  fs::permissions(scratch.path(), fs::perms(0777));
  const std::string target = (scratch / "written").string();
  const Outcome outcome = shell(
      "for d in / /usr /usr/bin /etc /dev /proc /lib; do (echo x > $d/lancet-written) 2>/dev/null "
      "&& echo WROTE $d; done\n"
      "ln -s " +
      target +
      " /tmp/link; (echo x > /tmp/link) 2>/dev/null && echo WROTE link\n"
      "ln -s / /work/root; (echo x > /work/root/usr/lancet-written) 2>/dev/null && echo WROTE "
      "root\n"
      "ln /etc/passwd /tmp/hard 2>/dev/null && (echo x >> /tmp/hard) 2>/dev/null && echo WROTE "
      "hard\n"
      "mkdir /tmp/a && ln -s ../../../../../.. /tmp/a/up && (echo x > /tmp/a/up" +
      target +
      ") 2>/dev/null && echo WROTE up\n"
      "echo done\n");
  INFO(shown(outcome));
  CHECK(outcome.output == "done\n");
  CHECK(scratch.entries() == 0);
  CHECK_FALSE(fs::exists("/usr/lancet-written"));
}

TEST_CASE("sandbox: signals reach neither the parent nor the cell") {
  const Outcome outcome = python(
      "import os, signal, ctypes\n"
      "for pid in (1, os.getppid(), " +
      std::to_string(::getpid()) + ", " + std::to_string(::getppid()) +
      "):\n"
      "  for s in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP):\n"
      "    try: os.kill(pid, s)\n    except OSError: pass\n"
      "libc = ctypes.CDLL(None, use_errno=True)\n"
      "print(libc.ptrace(16, 1, 0, 0), libc.unshare(0x10000000), libc.mount(b'a', b'/tmp', "
      "b'tmpfs', 0, 0))\n"
      "print('alive')\n");
  INFO(shown(outcome));
  CHECK(outcome.ok());
  CHECK(outcome.output == "-1 -1 -1\nalive\n");
  const Outcome own = python("import os\nos.kill(os.getpid(), 11)\n");
  CHECK(own.verdict == Verdict::kSignal);
  CHECK(own.signal == SIGSEGV);
}

TEST_CASE("sandbox: a report cannot be forged by the code that is judged") {
  const Outcome outcome = python(
      "import os\nopened = []\nfor pid in (1, os.getpid()):\n  for fd in range(3, 64):\n"
      "    try: opened.append(os.open('/proc/%d/fd/%d' % (pid, fd), os.O_WRONLY))\n"
      "    except OSError: pass\n"
      "print(opened, flush=True)\nos._exit(3)\n");
  INFO(shown(outcome));
  CHECK(outcome.output == "[]\n");
  CHECK(outcome.exit_code == 3);
}

TEST_CASE("sandbox: children in sessions of their own end with the program") {
  const std::string mark = "lancet-mark-" + std::to_string(::getpid());
  const Outcome outcome =
      shell("setsid sh -c 'sleep 300; : " + mark + "' >/dev/null 2>&1 < /dev/null &\necho started");
  INFO(shown(outcome));
  CHECK(outcome.ok());
  CHECK(processes_with(mark) == 0);
}

TEST_CASE("sandbox: when lancet itself is killed, what it ran is killed with it") {
  const std::string mark = "lancet-orphan-" + std::to_string(::getpid());
  const pid_t child = ::fork();
  if (child == 0) {
    (void)shell("sleep 300 & : " + mark + "; sh -c 'sleep 300; : " + mark + "'");
    ::_exit(0);
  }
  const auto wait_for = [&](auto&& done) {
    for (int i = 0; i < 200 && !done(); ++i) ::usleep(50'000);
  };
  wait_for([&] { return processes_with(mark) > 0; });
  REQUIRE(processes_with(mark) > 0);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  wait_for([&] { return processes_with(mark) == 0; });
  CHECK(processes_with(mark) == 0);
}

TEST_CASE("sandbox: where it does not stand, nothing runs and the reason is told") {
  const test::Scratch scratch;
  const auto fake = [&](const std::string& script) {
    write_file(scratch / "bwrap", "#!/bin/sh\n" + script);
    fs::permissions(scratch / "bwrap", fs::perms(0755));
    fs::permissions(scratch.path(), fs::perms(0755));
    return (scratch / "bwrap").string();
  };
  {
    const test::Environment bwrap(
        "LANCET_BWRAP", fake("echo 'No permissions to create new namespace' >&2; exit 1\n"));
    const Outcome outcome = python("print('ran')");
    CHECK(outcome.verdict == Verdict::kRefused);
    CHECK(outcome.output.empty());
    CHECK(outcome.reason.find("No permissions to create new namespace") != std::string::npos);
    CHECK(outcome.reason.find("user namespaces") != std::string::npos);
    const auto error = test::error_of([] { Sandbox().check(); });
    REQUIRE(error);
    CHECK(error->kind() == ErrorKind::kResource);
  }
  {
    const test::Environment bwrap("LANCET_BWRAP", (scratch / "missing").string());
    CHECK(python("print('ran')").verdict == Verdict::kRefused);
  }
  {
    const test::Environment path("PATH", scratch.path().string() + "/none");
    const Outcome outcome = python("print('ran')");
    CHECK(outcome.verdict == Verdict::kRefused);
    CHECK(outcome.reason.find("install the package bubblewrap") != std::string::npos);
  }
  CHECK_NOTHROW(Sandbox().check());
}

TEST_CASE("sandbox: many run side by side and answer in order") {
  std::vector<Program> programs;
  for (int i = 0; i < 12; ++i)
    programs.push_back(make_program(Language::kShell, "echo " + std::to_string(i)));
  const auto outcomes = Sandbox(kTight).run_all(programs);
  REQUIRE(outcomes.size() == 12);
  for (std::size_t i = 0; i < outcomes.size(); ++i)
    CHECK(outcomes[i].output == std::to_string(i) + "\n");
}

TEST_CASE("sandbox: limits out of range and unknown languages are refused") {
  SandboxLimits limits;
  limits.memory = 1;
  CHECK(test::error_of([&] { Sandbox sandbox(limits); })->kind() == ErrorKind::kUsage);
  limits = {};
  limits.wall_seconds = 0;
  CHECK(test::error_of([&] { Sandbox sandbox(limits); })->kind() == ErrorKind::kUsage);
  CHECK(test::error_of([] { (void)parse_language("pyton"); })->hint() == "did you mean 'python'?");
}

TEST_CASE("sandbox: a long text keeps its head and its tail") {
  CHECK(head_and_tail("abc", 3) == "abc");
  CHECK(head_and_tail("abcdefgh", 4) == "ab\n... 4 bytes left out ...\ngh");
}

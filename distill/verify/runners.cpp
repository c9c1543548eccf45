#include "distill/verify/runners.h"

#include <unistd.h>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr std::string_view kParsePython =
    "compile(open('main.py', encoding='utf-8').read(), 'main.py', 'exec')";

/// The first of `names` in the folders that a sandbox has.
std::string find_tool(std::string_view language, const std::vector<const char*>& names) {
  for (const char* name : names) {
    for (const char* folder : {"/usr/local/bin/", "/usr/bin/", "/bin/"}) {
      std::string path = std::string(folder) + name;
      if (::access(path.c_str(), X_OK) == 0) return path;
    }
  }
  fail(ErrorKind::kResource, "sandbox",
       fmt::format("{}: expected {} in /usr/local/bin, /usr/bin or /bin, found none", language,
                   fmt::join(names, " or ")),
       "install it on this machine; the sandbox sees /usr only");
}

std::string tool(Language language) {
  switch (language) {
    case Language::kPython:
      return find_tool("python", {"python3"});
    case Language::kCpp:
      return find_tool("cpp", {"g++", "clang++"});
    case Language::kShell:
      break;
  }
  return find_tool("sh", {"sh"});
}

}  // namespace

Language parse_language(std::string_view name) {
  if (name == "python" || name == "py") return Language::kPython;
  if (name == "cpp" || name == "c++") return Language::kCpp;
  if (name == "sh" || name == "shell" || name == "bash") return Language::kShell;
  fail(ErrorKind::kUsage, "sandbox",
       fmt::format("expected python, cpp or sh, found '{}'", printable(name)),
       did_you_mean(name, {"python", "cpp", "sh", "bash", "shell"}));
}

Program make_program(Language language, std::string_view code, std::string input,
                     std::vector<SandboxFile> files) {
  Program program{.files = std::move(files), .steps = {}, .input = std::move(input)};
  const std::string with = tool(language);
  const auto file = [&](const char* name) { program.files.push_back({name, std::string(code)}); };
  switch (language) {
    case Language::kPython:
      file("main.py");
      program.steps = {{"compile", {with, "-B", "-c", std::string(kParsePython)}},
                       {"run", {with, "-B", "main.py"}}};
      break;
    case Language::kCpp:
      file("main.cpp");
      program.steps = {{"compile", {with, "-std=c++20", "-O1", "-o", "/tmp/program", "main.cpp"}},
                       {"run", {"/tmp/program"}}};
      break;
    case Language::kShell:
      file("main.sh");
      program.steps = {{"compile", {with, "-n", "main.sh"}}, {"run", {with, "main.sh"}}};
  }
  return program;
}

std::string language_version(Language language, const Sandbox& sandbox) {
  if (language == Language::kShell) return tool(language);  // POSIX sh has no word for it
  const Outcome outcome = sandbox.run(
      {.files = {}, .steps = {{"version", {tool(language), "--version"}}}, .input = {}});
  if (!outcome.ok())
    fail(ErrorKind::kResource, "sandbox",
         fmt::format("{} --version: {} {}", tool(language), verdict_name(outcome.verdict),
                     outcome.reason));
  return outcome.output.substr(0, outcome.output.find('\n'));
}

}  // namespace lancet

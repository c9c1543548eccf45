#pragma once
// Code of a language as a program of the sandbox: its file, its check and its run.

#include <string>
#include <string_view>

#include "distill/verify/sandbox.h"

namespace lancet {

enum class Language { kPython, kCpp, kShell };

/// "python"/"py", "cpp"/"c++", "sh"/"shell"/"bash". Error(kUsage) with a suggestion.
[[nodiscard]] Language parse_language(std::string_view name);

/// Steps "compile" (python: parse; C++: g++ or clang++ -std=c++20; sh: sh -n) and "run". `code` is
/// main.py, main.cpp or main.sh in /work; `files` lie beside it. Error(kResource) when this machine
/// has no interpreter or compiler of the language under /usr or /bin.
[[nodiscard]] Program make_program(Language language, std::string_view code, std::string input = {},
                                   std::vector<SandboxFile> files = {});

/// First line of what the interpreter or compiler says of its version, run inside `sandbox`; for
/// the record beside verified rows. Error(kResource) as above or when the sandbox refuses.
[[nodiscard]] std::string language_version(Language language, const Sandbox& sandbox);

}  // namespace lancet

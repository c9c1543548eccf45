#pragma once
// Printing of results: JSON documents for machines, text for people, both on stdout.

#include <functional>
#include <string>
#include <string_view>

#include "cli/command.h"
#include "core/error.h"
#include "core/json.h"

namespace lancet {

/// One compact JSON document and a newline.
void print_json(const Json& document);
/// Text as it is.
void print_text(std::string_view text);
/// While it lives, what would be printed goes to `sink` instead.
class PrintedInto {
 public:
  explicit PrintedInto(std::function<void(std::string_view)> sink);
  ~PrintedInto();
  PrintedInto(const PrintedInto&) = delete;
  PrintedInto& operator=(const PrintedInto&) = delete;
};
/// {"kind","operation","message","hint"}.
[[nodiscard]] Json error_json(const Error& error);
/// "error: ..." and "hint: ..." on stderr.
void print_error(const Error& error);

/// The resolved command for lancet.json: {"command": NAME, ...}.
[[nodiscard]] Json command_json(std::string_view name, const CommonOptions& common);

}  // namespace lancet

#pragma once
// The one exception type of lancet. Library code throws it where the facts are known; only
// cli/main.cpp translates it into an exit code and the two-line message people see.

#include <exception>
#include <string>
#include <string_view>

namespace lancet {

/// What went wrong, from the user's side. The value is the process's exit code.
enum class ErrorKind : int {
  kUsage = 2,         ///< wrong option, argument or recipe
  kInput = 3,         ///< a file that is missing, hostile or damaged
  kMismatch = 4,      ///< models or tensors that do not fit together; an unsupported model
  kNumeric = 5,       ///< NaN, a singular system, divergence
  kResource = 6,      ///< disk, memory, network, a missing runtime library
  kGoal = 7,          ///< an edit failed its probes, a verification found a difference
  kInternal = 70,     ///< a broken invariant of our own
  kInterrupted = 130  ///< Ctrl-C or SIGTERM
};

/// "usage", "input", ...: the word in `{"error":{"kind":...}}`.
[[nodiscard]] std::string_view error_kind_name(ErrorKind kind) noexcept;

class Error : public std::exception {
 public:
  /// `operation`: the public operation ("safetensors", "edit"); `message`: what was expected and
  /// what was found (file, tensor, offset); `hint`: what to do next, may be empty.
  Error(ErrorKind kind, std::string operation, std::string message, std::string hint = {});

  [[nodiscard]] ErrorKind kind() const noexcept { return kind_; }
  [[nodiscard]] int exit_code() const noexcept { return static_cast<int>(kind_); }
  [[nodiscard]] const std::string& operation() const noexcept { return operation_; }
  [[nodiscard]] const std::string& message() const noexcept { return message_; }
  [[nodiscard]] const std::string& hint() const noexcept { return hint_; }
  /// "operation: message".
  [[nodiscard]] const char* what() const noexcept override { return what_.c_str(); }

 private:
  ErrorKind kind_;
  std::string operation_;
  std::string message_;
  std::string hint_;
  std::string what_;
};

[[noreturn]] void fail(ErrorKind kind, std::string_view operation, std::string message,
                       std::string hint = {});

}  // namespace lancet

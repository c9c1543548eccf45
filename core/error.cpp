#include "core/error.h"

#include <utility>

namespace lancet {

std::string_view error_kind_name(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::kUsage:
      return "usage";
    case ErrorKind::kInput:
      return "input";
    case ErrorKind::kMismatch:
      return "mismatch";
    case ErrorKind::kNumeric:
      return "numeric";
    case ErrorKind::kResource:
      return "resource";
    case ErrorKind::kGoal:
      return "goal";
    case ErrorKind::kInternal:
      return "internal";
    case ErrorKind::kInterrupted:
      return "interrupted";
  }
  return "internal";
}

Error::Error(ErrorKind kind, std::string operation, std::string message, std::string hint)
    : kind_(kind),
      operation_(std::move(operation)),
      message_(std::move(message)),
      hint_(std::move(hint)),
      what_(operation_ + ": " + message_) {}

void fail(ErrorKind kind, std::string_view operation, std::string message, std::string hint) {
  throw Error(kind, std::string(operation), std::move(message), std::move(hint));
}

}  // namespace lancet

#include "formats/tokenizer/pattern.h"

#include <optional>
#include <utility>

#include "core/text.h"
#include "formats/tokenizer/unicode.h"

namespace lancet {
namespace {

class LiteralPattern : public Pattern {
 public:
  explicit LiteralPattern(std::string literal) : literal_(std::move(literal)) {}

  void split(std::string_view text, SpanSink sink) const override {
    if (literal_.empty()) return split_everywhere(text, sink);
    std::size_t covered = 0;
    for (std::size_t at = text.find(literal_); at != text.npos; at = text.find(literal_, covered)) {
      if (at > covered) sink(covered, at, false);
      covered = at + literal_.size();
      sink(at, covered, true);
    }
    if (covered < text.size()) sink(covered, text.size(), false);
  }

 private:
  /// The empty literal matches between all code points.
  static void split_everywhere(std::string_view text, SpanSink sink) {
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t begin = at;
      sink(begin, begin, true);
      static_cast<void>(decode_at(text.data(), at));
      sink(begin, at, false);
    }
    sink(text.size(), text.size(), true);
  }

  std::string literal_;
};

class RegexPattern : public Pattern {
 public:
  RegexPattern(std::string_view pattern, const Where& where) : regex_(pattern, where) {}
  void split(std::string_view text, SpanSink sink) const override { regex_.split(text, sink); }

 private:
  Regex regex_;
};

class ScannerPattern : public Pattern {
 public:
  explicit ScannerPattern(ScanFunction scan) : scan_(scan) {}
  void split(std::string_view text, SpanSink sink) const override {
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = scan_(text, at);
      sink(at, end, true);
      at = end;
    }
  }

 private:
  ScanFunction scan_;
};

class ClassPattern : public Pattern {
 public:
  explicit ClassPattern(std::uint8_t bits) : bits_(bits) {}
  void split(std::string_view text, SpanSink sink) const override {
    const std::uint8_t* classes = char_classes();
    std::size_t covered = 0;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t begin = at;
      if ((classes[decode_at(text.data(), at)] & bits_) == 0) continue;
      if (begin > covered) sink(covered, begin, false);
      sink(begin, at, true);
      covered = at;
    }
    if (covered < text.size()) sink(covered, text.size(), false);
  }

 private:
  std::uint8_t bits_;
};

/// Holds the last piece back until it is known whether it grows.
class Joiner {
 public:
  explicit Joiner(FunctionRef<void(std::size_t, std::size_t)> sink) : sink_(sink) {}

  void push(std::size_t begin, std::size_t end) {
    flush();
    held_ = {begin, end};
  }
  /// Extends the held piece to `end`, or holds [begin, end) where there is none.
  void extend(std::size_t begin, std::size_t end) {
    if (held_) {
      held_->second = end;
    } else {
      held_ = {begin, end};
    }
  }
  void flush() {
    if (held_ && held_->second > held_->first) sink_(held_->first, held_->second);
    held_.reset();
  }

 private:
  FunctionRef<void(std::size_t, std::size_t)> sink_;
  std::optional<std::pair<std::size_t, std::size_t>> held_;
};

}  // namespace

std::unique_ptr<Pattern> make_pattern(const Json& pattern, const Where& where) {
  if (!pattern.is_object() || pattern.size() != 1) {
    where.fail_input(R"(expected {"String": ...} or {"Regex": ...})");
  }
  const std::string kind = pattern.begin().key();
  if (kind == "String") return literal_pattern(where.string(pattern, kind));
  if (kind != "Regex") where.fail_unsupported("pattern kind", kind);
  const std::string regex = where.string(pattern, kind);
  if (const ScanFunction scan = find_scanner(regex); scan != nullptr) return scanner_pattern(scan);
  return std::make_unique<RegexPattern>(regex, where);
}

std::unique_ptr<Pattern> literal_pattern(std::string literal) {
  return std::make_unique<LiteralPattern>(std::move(literal));
}

std::unique_ptr<Pattern> class_pattern(std::uint8_t bits) {
  return std::make_unique<ClassPattern>(bits);
}

std::unique_ptr<Pattern> scanner_pattern(ScanFunction scan) {
  return std::make_unique<ScannerPattern>(scan);
}

Behavior parse_behavior(std::string_view name, const Where& where) {
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  where.fail_input("unknown behavior '" + printable(name) + "'");
}

void split_text(const Pattern& pattern, Behavior behavior, bool invert, std::string_view text,
                FunctionRef<void(std::size_t, std::size_t)> sink) {
  if (behavior == Behavior::kIsolated || behavior == Behavior::kRemoved) {
    const bool all = behavior == Behavior::kIsolated;
    pattern.split(text, [&](std::size_t begin, std::size_t end, bool match) {
      if (end > begin && (all || match == invert)) sink(begin, end);
    });
    return;
  }
  Joiner joiner(sink);
  bool previous = false;
  pattern.split(text, [&](std::size_t begin, std::size_t end, bool found) {
    const bool match = found != invert;
    const bool joins = behavior == Behavior::kContiguous           ? match == previous
                       : behavior == Behavior::kMergedWithPrevious ? match && !previous
                                                                   : !match && previous;
    if (joins) {
      joiner.extend(begin, end);
    } else {
      joiner.push(begin, end);
    }
    previous = match;
  });
  joiner.flush();
}

}  // namespace lancet

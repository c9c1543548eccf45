#pragma once
// What one rendering owns and may spend: steps, live bytes, recursion, the heap, the line for
// messages.

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/template/chat_template.h"
#include "formats/template/value.h"

namespace lancet::jinja {

/// Throws Error(kInput) "chat template: line L: message".
[[noreturn]] void fail_at(std::uint32_t line, const std::string& message);

class Runtime {
 public:
  Runtime(const TemplateLimits& limits, std::int64_t now)
      : limits_(limits), steps_(limits.steps), memory_(memory_limit(limits)), now_(now) {}
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  [[noreturn]] void error(const std::string& message) const { fail_at(line, message); }
  [[noreturn]] void type_error(const std::string& message) const { error("TypeError: " + message); }

  /// Spends steps; one is about the work of a small expression.
  void step(std::uint64_t count = 1) {
    if (count > steps_) out_of_steps();
    steps_ -= count;
  }
  /// Spends the steps of reading or writing that many bytes.
  void touch(std::uint64_t bytes) { step(1 + bytes / 64); }
  /// Refuses a string of that many bytes before anybody builds it.
  void check_size(std::uint64_t bytes) const {
    if (bytes > limits_.output_bytes) too_large();
  }
  Memory& memory() noexcept { return memory_; }
  [[nodiscard]] std::int64_t now() const noexcept { return now_; }

  Value string(std::string text, bool markup = false, std::vector<Span> spans = {});
  Value string(std::string_view text, bool markup = false) {
    return string(std::string(text), markup);
  }
  Value string(const char* text) { return string(std::string(text)); }
  Value list(std::vector<Value> items, Kind kind = Kind::kList);
  Value tuple(std::vector<Value> items) { return list(std::move(items), Kind::kTuple); }
  Dict& dict();

  /// Makes an object of the arena. `bytes`: what it holds beside itself.
  template <typename T, typename... Args>
  T& make(std::uint64_t bytes, Args&&... args) {
    step(2);
    memory_.grow(sizeof(T) + 32 + bytes);
    heap_.push_back(std::make_unique<T>(std::forward<Args>(args)...));
    return static_cast<T&>(*heap_.back());
  }

  std::uint32_t line = 1;  ///< of the construct being evaluated

 private:
  friend class Level;
  friend class MacroLevel;
  static std::uint64_t memory_limit(const TemplateLimits& limits);
  [[noreturn]] void out_of_steps() const;
  [[noreturn]] void too_large() const;
  [[noreturn]] void too_deep() const;

  TemplateLimits limits_;
  std::uint64_t steps_;
  int level_ = 0;
  int macros_ = 0;
  Memory memory_;  ///< outlives the heap: strings report to it when they go
  std::int64_t now_;
  std::deque<std::unique_ptr<Object>> heap_;
};

/// Guards one level of native recursion.
class Level {
 public:
  explicit Level(Runtime& rt) : rt_(rt) {
    if (++rt_.level_ > kMaximum) {
      --rt_.level_;
      rt_.too_deep();
    }
  }
  ~Level() { --rt_.level_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  static constexpr int kMaximum = 1500;  ///< x about 500 bytes of stack
  Runtime& rt_;
};

/// Guards one level of the template's own recursion: macros and recursive loops.
class MacroLevel {
 public:
  explicit MacroLevel(Runtime& rt, bool counts = true) : rt_(rt), count_(counts ? 1 : 0) {
    rt_.macros_ += count_;
    if (rt_.macros_ > rt_.limits_.depth) rt_.too_deep();
  }
  ~MacroLevel() { rt_.macros_ -= count_; }
  MacroLevel(const MacroLevel&) = delete;
  MacroLevel& operator=(const MacroLevel&) = delete;

 private:
  Runtime& rt_;
  int count_;
};

/// Collects output; its bytes count as live while it exists.
class Sink {
 public:
  explicit Sink(Runtime& rt) : rt_(rt) {}
  ~Sink() { rt_.memory().shrink(charged_); }
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;
  void write(std::string_view text);
  /// Prints a value as `{{ }}` does.
  void write(const Value& value);

  std::string text;
  std::vector<Span> spans;

 private:
  Runtime& rt_;
  std::uint64_t charged_ = 0;
};

/// Parameters of a builtin by name and position, checked as Python checks them.
class Parameters {
 public:
  Parameters(Runtime& rt, const Arguments& arguments, std::string_view callee,
             std::initializer_list<std::string_view> names, std::size_t required = 0);
  /// Null when not given.
  [[nodiscard]] const Value* operator[](std::size_t index) const { return values_[index]; }
  /// Not given or None.
  [[nodiscard]] bool absent(std::size_t index) const {
    return values_[index] == nullptr || values_[index]->is_none();
  }
  [[nodiscard]] bool flag(std::size_t index, bool fallback) const;
  [[nodiscard]] std::int64_t integer(std::size_t index, std::int64_t fallback) const;
  [[nodiscard]] std::string_view text(std::size_t index, std::string_view fallback) const;

 private:
  Runtime& rt_;
  std::string_view callee_;
  std::vector<const Value*> values_;
};

/// Spends the steps of searching `part` in `text`.
inline void touch_search(Runtime& rt, std::string_view text, std::string_view part) {
  rt.touch(part.size() < 64 ? text.size() : text.size() * 16);
}

/// The message of Jinja's UndefinedError for this value, thrown as kInput.
[[noreturn]] void fail_undefined(Runtime& rt, const Value& value);

/// obj.name and obj[key] as the sandbox resolves them; a missing one is undefined. `items`: whether
/// the dot falls back to an item of that name.
[[nodiscard]] Value get_attribute(Runtime& rt, const Value& object, const Value& name,
                                  bool items = true);
[[nodiscard]] Value get_item(Runtime& rt, const Value& object, const Value& key);
/// object[start:stop:step]; each bound is an integer or None.
[[nodiscard]] Value get_slice(Runtime& rt, const Value& object, const Value& start,
                              const Value& stop, const Value& step);

enum class Operator : std::uint8_t { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod, kPow };
[[nodiscard]] Value binary(Runtime& rt, Operator op, const Value& a, const Value& b);
[[nodiscard]] Value negate(Runtime& rt, const Value& value, bool minus);

/// The method of that name on a value of that kind, or null. `supported` is false where Python has
/// one that this engine does not offer.
[[nodiscard]] Method::Body find_method(Kind kind, std::string_view name, bool& supported) noexcept;
/// True for methods that change a list or dict: the sandbox hides them.
[[nodiscard]] bool is_mutator(Kind kind, std::string_view name) noexcept;

}  // namespace lancet::jinja

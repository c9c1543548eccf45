#pragma once
// Values of the template language, with Python's meaning. Strings are counted and freed at once;
// every other heap value belongs to the Runtime's arena and lives until the rendering ends, so that
// neither cycles through namespaces nor long chains can leak or recurse in destructors. One thread
// per rendering.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lancet::jinja {

class Runtime;

enum class Kind : std::uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,  // no Object behind these
  kList,
  kTuple,
  kDict,
  kRange,
  kView,
  kNamespace,
  kIterator,
  kMacro,
  kFunction,
  kMethod,
  kLoop,
  kCycler,
  kJoiner
};

using Span = std::pair<std::uint64_t, std::uint64_t>;

/// Live bytes of one rendering; throws kInput beyond the limit.
class Memory {
 public:
  explicit Memory(std::uint64_t limit) : limit_(limit) {}
  void grow(std::uint64_t bytes);
  void shrink(std::uint64_t bytes) noexcept { used_ -= bytes; }

 private:
  std::uint64_t limit_;
  std::uint64_t used_ = 0;
};

/// Valid UTF-8. `markup`: made by the filters safe or escape. `spans`: byte ranges of generation
/// blocks inside `text`, kept while the string is handed on unchanged.
struct Str {
  std::string text;
  std::vector<Span> spans;
  Memory* memory = nullptr;
  std::uint32_t references = 1;
  bool markup = false;
};

struct Object {
  explicit Object(Kind k) : kind(k) {}
  virtual ~Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  Kind kind;
};

/// Why a value is undefined; with the name it makes Jinja's message.
enum class Missing : std::uint8_t { kVariable, kAttribute, kHint, kUnsafe };

class Value {
 public:
  Value() noexcept : object_(nullptr) {}  ///< undefined without a name
  static Value none() noexcept { return Value(Kind::kNone); }
  static Value boolean(bool value) noexcept {
    Value v(Kind::kBool);
    v.int_ = value ? 1 : 0;
    return v;
  }
  static Value integer(std::int64_t value) noexcept {
    Value v(Kind::kInt);
    v.int_ = value;
    return v;
  }
  static Value real(double value) noexcept {
    Value v(Kind::kFloat);
    v.real_ = value;
    return v;
  }
  static Value object(Object* value) noexcept {
    Value v(value->kind);
    v.object_ = value;
    return v;
  }
  static Value adopt(Str* value) noexcept {
    Value v(Kind::kString);
    v.str_ = value;
    return v;
  }
  /// `name`: a string value (the variable, attribute or whole message); `of`: the kind that lacked
  /// it.
  static Value undefined(Missing why, const Value& name, Kind of = Kind::kUndefined) noexcept;

  Value(const Value& other) noexcept {
    copy(other);
    retain();
  }
  Value(Value&& other) noexcept {
    copy(other);
    other.kind_ = Kind::kNone;
  }
  Value& operator=(const Value& other) noexcept;
  Value& operator=(Value&& other) noexcept;
  ~Value() { release(); }

  [[nodiscard]] Kind kind() const noexcept { return kind_; }
  [[nodiscard]] bool is(Kind kind) const noexcept { return kind_ == kind; }
  [[nodiscard]] bool is_undefined() const noexcept { return kind_ == Kind::kUndefined; }
  [[nodiscard]] bool is_none() const noexcept { return kind_ == Kind::kNone; }
  [[nodiscard]] bool is_string() const noexcept { return kind_ == Kind::kString; }
  /// bool or int, as Python's int.
  [[nodiscard]] bool is_integral() const noexcept {
    return kind_ == Kind::kInt || kind_ == Kind::kBool;
  }
  [[nodiscard]] bool is_number() const noexcept { return is_integral() || kind_ == Kind::kFloat; }
  [[nodiscard]] bool is_array() const noexcept {
    return kind_ == Kind::kList || kind_ == Kind::kTuple;
  }

  // Each accessor needs the matching kind.
  [[nodiscard]] std::int64_t as_int() const noexcept { return int_; }  ///< kInt and kBool
  [[nodiscard]] double as_real() const noexcept { return real_; }
  [[nodiscard]] double number() const noexcept {
    return kind_ == Kind::kFloat ? real_ : static_cast<double>(int_);
  }
  [[nodiscard]] const Str& str() const noexcept { return *str_; }
  [[nodiscard]] std::string_view text() const noexcept { return str_->text; }
  [[nodiscard]] Object* heap() const noexcept { return object_; }
  template <typename T>
  [[nodiscard]] T& as() const noexcept {
    return static_cast<T&>(*object_);
  }

  [[nodiscard]] Missing why() const noexcept { return why_; }
  [[nodiscard]] Kind of() const noexcept { return of_; }
  /// The name an undefined value carries; "" when it has none.
  [[nodiscard]] std::string_view missing_name() const noexcept {
    return str_ == nullptr ? std::string_view() : std::string_view(str_->text);
  }

 private:
  explicit Value(Kind kind) noexcept : kind_(kind), object_(nullptr) {}
  [[nodiscard]] bool counted() const noexcept {
    return (kind_ == Kind::kString || kind_ == Kind::kUndefined) && str_ != nullptr;
  }
  void copy(const Value& other) noexcept {
    kind_ = other.kind_;
    why_ = other.why_;
    of_ = other.of_;
    int_ = other.int_;
  }
  void retain() noexcept {
    if (counted()) ++str_->references;
  }
  void release() noexcept {
    if (counted() && --str_->references == 0) destroy(str_);
  }
  static void destroy(Str* str) noexcept;

  Kind kind_ = Kind::kUndefined;
  Missing why_ = Missing::kVariable;
  Kind of_ = Kind::kUndefined;
  union {
    std::int64_t int_;
    double real_;
    Str* str_;
    Object* object_;
  };
};

/// Arguments of a call, evaluated.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> named;  ///< names live as long as the template
};

/// list and tuple; never changed after it was made. `group`: a pair of the filter groupby.
struct List : Object {
  List(Kind k, std::vector<Value> v) : Object(k), items(std::move(v)) {}
  std::vector<Value> items;
  bool group = false;
};

/// In order of insertion; keys are unique under Python's == (1, 1.0 and True are one key).
struct Dict : Object {
  Dict() : Object(Kind::kDict) {}
  [[nodiscard]] const Value* find(Runtime& rt, const Value& key) const;
  [[nodiscard]] const Value* find(std::string_view key) const;
  void set(Runtime& rt, const Value& key, Value value);
  std::vector<std::pair<Value, Value>> entries;

 private:
  [[nodiscard]] std::ptrdiff_t locate(Runtime& rt, const Value& key, std::uint64_t hash) const;
  std::unordered_multimap<std::uint64_t, std::uint32_t> index_;
};

struct Range : Object {
  Range(std::int64_t from, std::int64_t to, std::int64_t by, std::int64_t count)
      : Object(Kind::kRange), start(from), stop(to), step(by), length(count) {}
  std::int64_t start, stop, step, length;
};

/// dict.keys(), .values(), .items(): a sized iterable without subscripts.
struct View : Object {
  enum class Of : std::uint8_t { kKeys, kValues, kItems };
  View(Dict* d, Of o) : Object(Kind::kView), dict(d), of(o) {}
  Dict* dict;
  Of of;
};

struct Namespace : Object {
  Namespace() : Object(Kind::kNamespace) {}
  Dict attributes;
};

/// A generator: each item is handed out once, computed when asked for.
struct Iterator : Object {
  Iterator() : Object(Kind::kIterator) {}
  /// False at the end.
  virtual bool next(Runtime& rt, Value& out) = 0;
};

/// A global function. `run` knows its name for messages.
struct Function : Object {
  using Body = Value (*)(Runtime& rt, const Arguments& arguments);
  Function(std::string_view n, Body b) : Object(Kind::kFunction), name(n), body(b) {}
  std::string_view name;
  Body body;
};

/// A method bound to its object.
struct Method : Object {
  using Body = Value (*)(Runtime& rt, const Value& self, const Arguments& arguments);
  Method(std::string_view n, Body b, Value s)
      : Object(Kind::kMethod), name(n), body(b), self(std::move(s)) {}
  std::string name;
  Body body;
  Value self;
};

struct Cycler : Object {
  Cycler() : Object(Kind::kCycler) {}
  std::vector<Value> items;
  std::size_t position = 0;
};

struct Joiner : Object {
  Joiner() : Object(Kind::kJoiner) {}
  Value separator;
  bool used = false;
};

/// Python's name of the type: "str", "dict", "NoneType", ...
[[nodiscard]] std::string_view type_name(const Value& value) noexcept;
[[nodiscard]] std::string_view type_name(Kind kind) noexcept;

[[nodiscard]] bool truthy(const Value& value) noexcept;
[[nodiscard]] bool equal(Runtime& rt, const Value& a, const Value& b);
/// a < b; throws kInput where Python raises TypeError.
[[nodiscard]] bool less(Runtime& rt, const Value& a, const Value& b, std::string_view op = "<");
/// a <= b.
[[nodiscard]] bool less_or_equal(Runtime& rt, const Value& a, const Value& b,
                                 std::string_view op = "<=");
/// Equal values have equal hashes; throws kInput for unhashable ones (list, dict).
[[nodiscard]] std::uint64_t hash_of(Runtime& rt, const Value& value);
/// `needle in haystack`.
[[nodiscard]] bool contains(Runtime& rt, const Value& haystack, const Value& needle);
/// len(value); throws kInput where there is none.
[[nodiscard]] std::int64_t length_of(Runtime& rt, const Value& value);
[[nodiscard]] bool has_length(const Value& value) noexcept;
[[nodiscard]] bool is_iterable(const Value& value) noexcept;

/// Walks any iterable value, item by item; throws kInput "'int' object is not iterable".
class Cursor {
 public:
  Cursor(Runtime& rt, Value source);
  bool next(Value& out);

 private:
  Runtime& rt_;
  Value source_;
  std::size_t at_ = 0;
};

/// list(value).
[[nodiscard]] std::vector<Value> collect(Runtime& rt, const Value& value);

}  // namespace lancet::jinja

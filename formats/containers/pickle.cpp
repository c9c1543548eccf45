#include "formats/containers/pickle.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "core/text.h"
#include "formats/containers/zip.h"

namespace lancet {
namespace {

constexpr std::uint64_t kMostBytes = 64ULL << 20;
constexpr std::size_t kMostDimensions = 16;
constexpr std::uint32_t kMostOpcodes = 1U << 22;

enum class Kind : std::uint8_t {
  kNone,     // None, True, False, floats: nothing that a state dict is read for
  kInteger,  // number
  kText,     // text
  kList,     // items; tuples too
  kDict,     // items: key, value, key, value ...
  kStorage,  // text: its key; dtype; number: elements
  kTensor,   // items: storage, shape, strides; number: first element
  kGlobal,   // number: a place in kGlobals
};

/// What a global stands for.
enum class Role : std::uint8_t {
  kStorageType,
  kDType,
  kDict,
  kSize,
  kTensor2,
  kTensor3,
  kParameter
};

struct Global {
  std::string_view name;  ///< module and name, with a blank between
  Role role;
  DType dtype = DType::kU8;
};

/// All that are known.
constexpr std::array kGlobals{
    Global{"collections OrderedDict", Role::kDict},
    Global{"torch Size", Role::kSize},
    Global{"torch._utils _rebuild_tensor_v2", Role::kTensor2},
    Global{"torch._utils _rebuild_tensor_v3", Role::kTensor3},
    Global{"torch._utils _rebuild_parameter", Role::kParameter},
    Global{"torch FloatStorage", Role::kStorageType, DType::kF32},
    Global{"torch DoubleStorage", Role::kStorageType, DType::kF64},
    Global{"torch HalfStorage", Role::kStorageType, DType::kF16},
    Global{"torch BFloat16Storage", Role::kStorageType, DType::kBF16},
    Global{"torch LongStorage", Role::kStorageType, DType::kI64},
    Global{"torch IntStorage", Role::kStorageType, DType::kI32},
    Global{"torch ShortStorage", Role::kStorageType, DType::kI16},
    Global{"torch CharStorage", Role::kStorageType, DType::kI8},
    Global{"torch ByteStorage", Role::kStorageType, DType::kU8},
    Global{"torch BoolStorage", Role::kStorageType, DType::kBool},
    Global{"torch.storage UntypedStorage", Role::kStorageType, DType::kU8},
    Global{"torch float8_e4m3fn", Role::kDType, DType::kF8E4M3},
    Global{"torch float8_e5m2", Role::kDType, DType::kF8E5M2},
    Global{"torch uint16", Role::kDType, DType::kU16},
    Global{"torch uint32", Role::kDType, DType::kU32},
    Global{"torch uint64", Role::kDType, DType::kU64},
};

using Ref = std::uint32_t;  ///< a place among the machine's values

struct Value {
  Kind kind = Kind::kNone;
  DType dtype = DType::kU8;
  std::int64_t number = 0;
  std::string_view text;  ///< inside the pickle
  std::vector<Ref> items;
};

class Machine {
 public:
  Machine(Bytes pickle, std::string_view source) : in_(pickle, "pickle", source) {}

  std::vector<PickledTensor> run() {
    if (in_.size() > kMostBytes)
      in_.bad(0, "at most 64 MiB of names and shapes", fmt::format("{} bytes", in_.size()));
    while (step()) {
      if (values_.size() > kMostOpcodes || ++opcodes_ > kMostOpcodes)
        in_.bad(start_, "at most 2^22 opcodes", "more");
    }
    if (at_ != in_.size()) in_.bad(at_, "nothing behind the end of the pickle", "more bytes");
    if (stack_.size() != 1 || !marks_.empty()) bad("one object", fmt::format("{}", stack_.size()));
    return tensors(values_[stack_[0]]);
  }

 private:
  OffsetReader in_;
  std::uint64_t at_ = 0, start_ = 0;  ///< of the next byte, of the opcode under way
  std::uint32_t opcodes_ = 0;
  std::vector<Value> values_;
  std::vector<Ref> stack_;
  std::vector<std::size_t> marks_;  ///< heights of the stack
  std::vector<std::optional<Ref>> memo_;

  [[noreturn]] void bad(std::string_view expected, std::string_view found) const {
    in_.bad(start_, expected, found,
            "only a state dict of tensors is read, as torch.save(model.state_dict()) writes it");
  }

  template <typename T>
  T next() {
    const T value = in_.at<T>(at_);
    at_ += sizeof(T);
    return value;
  }
  std::string_view next_text(std::uint64_t size) {
    const std::string_view text = in_.text(at_, size);
    at_ += size;
    return text;
  }
  std::string_view next_line() {
    const std::string_view rest = in_.text(at_, std::min<std::uint64_t>(256, in_.size() - at_));
    const std::size_t end = rest.find('\n');
    if (end == rest.npos) bad("a line of a name", "none");
    at_ += end + 1;
    return rest.substr(0, end);
  }

  void push(Value value) {
    values_.push_back(std::move(value));
    stack_.push_back(static_cast<Ref>(values_.size() - 1));
  }
  void push_number(std::int64_t number) { push({.kind = Kind::kInteger, .number = number}); }
  void push_text(std::string_view text) { push({.kind = Kind::kText, .text = text}); }
  /// Nothing below the last mark is taken.
  Ref pop() {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) bad("a value", "an empty stack");
    const Ref top = stack_.back();
    stack_.pop_back();
    return top;
  }
  Value& top() {
    const Ref ref = pop();
    stack_.push_back(ref);
    return values_[ref];
  }
  /// The last `count` values as a tuple.
  void push_tuple(std::size_t count) {
    std::vector<Ref> items(count);
    for (std::size_t i = count; i-- > 0;) items[i] = pop();
    push({.kind = Kind::kList, .items = std::move(items)});
  }
  /// What stands above the last mark, which goes.
  std::vector<Ref> pop_marked() {
    if (marks_.empty()) bad("a mark", "none");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Ref> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }
  void append(Kind kind, const std::vector<Ref>& items) {
    Value& target = top();
    if (target.kind != kind || (kind == Kind::kDict && items.size() % 2 != 0))
      bad(kind == Kind::kDict ? "a dict and pairs for it" : "a list", "another object");
    target.items.insert(target.items.end(), items.begin(), items.end());
  }
  void put(std::uint32_t place) {
    // Places are numbered as objects are met: none is further than one behind the values.
    if (place > values_.size()) bad("a place of the memo", std::to_string(place));
    if (place >= memo_.size()) memo_.resize(std::size_t{place} + 1);
    const Ref ref = pop();
    stack_.push_back(ref);
    memo_[place] = ref;
  }
  void get(std::uint32_t place) {
    if (place >= memo_.size() || !memo_[place])
      bad("a filled place of the memo", std::to_string(place));
    stack_.push_back(*memo_[place]);
  }

  const Value& item(const Value& list, std::size_t i, Kind kind, std::string_view what) const {
    if (list.kind != Kind::kList || i >= list.items.size() || values_[list.items[i]].kind != kind)
      bad(what, "another object");
    return values_[list.items[i]];
  }
  const Global& global(const Value& list, std::size_t i, Role role) const {
    const auto place = item(list, i, Kind::kGlobal, "a type").number;
    const Global& found = kGlobals[static_cast<std::size_t>(place)];
    if (found.role != role) bad("another type", found.name);
    return found;
  }

  void push_global() {
    const std::string_view module = next_line(), name = next_line();
    const std::string full = fmt::format("{} {}", module, name);
    const auto found = std::ranges::find(kGlobals, full, &Global::name);
    if (found == kGlobals.end()) {
      bad("tensors, their storages and OrderedDict alone",
          fmt::format("'{}.{}', which is not run", printable(module), printable(name)));
    }
    push({.kind = Kind::kGlobal, .number = found - kGlobals.begin()});
  }
  /// ("storage", type, key, location, elements)
  void push_storage() {
    const Value& id = values_[pop()];
    if (item(id, 0, Kind::kText, "the id of a storage").text != "storage")
      bad("the id of a storage", "another one");
    const std::int64_t elements = item(id, 4, Kind::kInteger, "elements of a storage").number;
    if (elements < 0) bad("elements of a storage", std::to_string(elements));
    push({.kind = Kind::kStorage,
          .dtype = global(id, 1, Role::kStorageType).dtype,
          .number = elements,
          .text = item(id, 2, Kind::kText, "the key of a storage").text});
  }
  /// (storage, first element, shape, strides, gradient, hooks[, dtype])
  void push_tensor(const Value& arguments, bool typed) {
    const Value& storage = item(arguments, 0, Kind::kStorage, "a storage");
    static_cast<void>(item(arguments, 2, Kind::kList, "a shape"));
    static_cast<void>(item(arguments, 3, Kind::kList, "strides"));
    push({.kind = Kind::kTensor,
          .dtype = typed ? global(arguments, 6, Role::kDType).dtype : storage.dtype,
          .number = item(arguments, 1, Kind::kInteger, "an offset").number,
          .items = {arguments.items[0], arguments.items[2], arguments.items[3]}});
  }
  void reduce() {
    const Ref arguments = pop(), called = pop();
    if (values_[arguments].kind != Kind::kList || values_[called].kind != Kind::kGlobal)
      bad("a call of a known name", "another object");
    const Value& given = values_[arguments];
    switch (kGlobals[static_cast<std::size_t>(values_[called].number)].role) {
      case Role::kDict:
        if (!given.items.empty()) bad("an empty OrderedDict", "one with arguments");
        return push({.kind = Kind::kDict});
      case Role::kSize:
        stack_.push_back(given.items.empty() ? arguments : given.items[0]);
        return;
      case Role::kTensor2:
        return push_tensor(given, false);
      case Role::kTensor3:
        return push_tensor(given, true);
      case Role::kParameter:
        static_cast<void>(item(given, 0, Kind::kTensor, "a tensor"));
        stack_.push_back(given.items[0]);
        return;
      case Role::kStorageType:
      case Role::kDType:
        break;
    }
    bad("a call of a known name", "a type");
  }

  /// One opcode; false at the end.
  bool step() {
    start_ = at_;
    switch (const auto opcode = next<std::uint8_t>(); opcode) {
      case 0x80:  // PROTO
        if (const auto version = next<std::uint8_t>(); version != 2)
          bad("pickle protocol 2", std::to_string(version));
        break;
      case '.':
        return false;
      case '(':
        marks_.push_back(stack_.size());
        break;
      case 'c':
        push_global();
        break;
      case 'R':
        reduce();
        break;
      case 'b':  // BUILD: attributes of a state dict (_metadata), of no use here
        static_cast<void>(pop());
        if (top().kind != Kind::kDict) bad("attributes of a dict", "of another object");
        break;
      case 'Q':
        push_storage();
        break;
      case '}':
        push({.kind = Kind::kDict});
        break;
      case ']':
      case ')':
        push({.kind = Kind::kList});
        break;
      case 't': {
        auto items = pop_marked();
        push({.kind = Kind::kList, .items = std::move(items)});
        break;
      }
      case 0x85:
      case 0x86:
      case 0x87:
        push_tuple(opcode - 0x84U);
        break;
      case 'a': {
        const Ref one = pop();
        append(Kind::kList, {one});
        break;
      }
      case 'e':
        append(Kind::kList, pop_marked());
        break;
      case 's': {
        const Ref value = pop(), key = pop();
        append(Kind::kDict, {key, value});
        break;
      }
      case 'u':
        append(Kind::kDict, pop_marked());
        break;
      case 'N':
      case 0x88:
      case 0x89:
        push({});
        break;
      case 'J':
        push_number(next<std::int32_t>());
        break;
      case 'K':
        push_number(next<std::uint8_t>());
        break;
      case 'M':
        push_number(next<std::uint16_t>());
        break;
      case 0x8a:
        push_long();
        break;
      case 'G':
        at_ += 8;
        static_cast<void>(in_.part(start_, 9));
        push({});
        break;
      case 'X':
        push_text(next_text(next<std::uint32_t>()));
        break;
      case 'U':
        push_text(next_text(next<std::uint8_t>()));
        break;
      case 'h':
        get(next<std::uint8_t>());
        break;
      case 'j':
        get(next<std::uint32_t>());
        break;
      case 'q':
        put(next<std::uint8_t>());
        break;
      case 'r':
        put(next<std::uint32_t>());
        break;
      default:
        bad("an opcode of a state dict", fmt::format("{:#04x}", opcode));
    }
    return true;
  }
  /// A little-endian number of up to 8 bytes.
  void push_long() {
    const auto size = next<std::uint8_t>();
    if (size > 8) bad("a number of up to 8 bytes", std::to_string(size));
    std::uint64_t bits = 0;
    for (unsigned i = 0; i < size; ++i) bits |= std::uint64_t{next<std::uint8_t>()} << (8 * i);
    const unsigned unused = 64 - 8U * size;
    push_number(size == 0 ? 0 : static_cast<std::int64_t>(bits << unused) >> unused);
  }

  std::vector<std::int64_t> numbers(Ref list) const {
    std::vector<std::int64_t> out;
    if (values_[list].items.size() > kMostDimensions)
      bad("at most 16 dimensions", std::to_string(values_[list].items.size()));
    for (std::size_t i = 0; i < values_[list].items.size(); ++i)
      out.push_back(item(values_[list], i, Kind::kInteger, "whole numbers in a shape").number);
    return out;
  }
  std::vector<PickledTensor> tensors(const Value& dict) const {
    if (dict.kind != Kind::kDict) bad("a dict of tensors", "another object");
    std::vector<PickledTensor> out;
    for (std::size_t i = 0; i < dict.items.size(); i += 2) {
      const Value &key = values_[dict.items[i]], &value = values_[dict.items[i + 1]];
      if (key.kind != Kind::kText) bad("names of tensors", "another key");
      if (value.kind != Kind::kTensor)
        bad(fmt::format("a tensor under '{}'", printable(key.text)), "another object");
      const Value& storage = values_[value.items[0]];
      const auto bytes = dtype_bytes(storage.dtype, static_cast<std::uint64_t>(storage.number));
      if (!bytes) bad("a storage of less than 2^64 bytes", std::to_string(storage.number));
      out.push_back({.name = std::string(key.text),
                     .dtype = value.dtype,
                     .storage = std::string(storage.text),
                     .storage_size = *bytes,
                     .first = value.number,
                     .shape = numbers(value.items[1]),
                     .strides = numbers(value.items[2])});
    }
    return out;
  }
};

}  // namespace

std::vector<PickledTensor> parse_state_dict(Bytes pickle, std::string_view source) {
  return Machine(pickle, source).run();
}

}  // namespace lancet

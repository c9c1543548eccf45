#include "core/json.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

/// Feeds the lexer and shows how far it has read.
struct Cursor {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at;
  const char** seen;  ///< may be null (the end cursor)

  reference operator*() const { return *at; }
  Cursor& operator++() {
    *seen = ++at;
    return *this;
  }
  bool operator==(const Cursor& other) const { return at == other.at; }
  bool operator!=(const Cursor& other) const { return at != other.at; }
};

/// Names source, line and column (1-based, in characters) of a byte offset.
[[noreturn]] void fail_at(std::string_view text, std::size_t offset, std::string_view source,
                          std::string_view what) {
  const std::string_view before = text.substr(0, std::min(offset, text.size()));
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const std::size_t newline = before.rfind('\n');
  const std::string_view tail = newline == before.npos ? before : before.substr(newline + 1);
  const auto column = 1 + std::count_if(tail.begin(), tail.end(), [](char c) {
                        return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
                      });
  fail(ErrorKind::kInput, "json",
       fmt::format("{}:{}:{}: {}", printable(source), line, column, printable(what, 240)));
}

/// Builds the value from parser events, with its own stack: no recursion on the nesting of the
/// text.
class Builder {
 public:
  Builder(std::string_view text, std::string_view source, JsonLimits limits)
      : text_(text), source_(source), limits_(limits), seen_(text.data()) {}

  const char** seen() { return &seen_; }
  Json take() { return std::move(root_); }

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(std::int64_t value) { return add(value); }
  bool number_unsigned(std::uint64_t value) { return add(value); }
  bool number_float(double value, const std::string&) { return add(value); }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(Json::binary_t&) { return false; }

  bool start_object(std::size_t) { return open(true); }
  bool start_array(std::size_t) { return open(false); }

  bool key(std::string& name) {
    Frame& frame = stack_.back();
    frame.offsets.push_back(offset());
    frame.members.emplace_back(std::move(name), nullptr);
    return true;
  }

  bool end_object() {
    Frame frame = pop();
    check_duplicates(frame);
    Json value = Json::object();
    auto& members = value.get_ref<Json::object_t&>();
    members.reserve(frame.members.size());
    for (auto& [name, member] : frame.members) {
      members.emplace_back(std::move(name), std::move(member));
    }
    place(std::move(value));
    return true;
  }

  bool end_array() {
    Frame frame = pop();
    Json value = Json::array();
    value.get_ref<Json::array_t&>() = std::move(frame.items);
    place(std::move(value));
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& e) {
    std::string_view what = e.what();
    if (const auto cut = what.find("column "); cut != what.npos) {
      const auto colon = what.find(": ", cut);
      if (colon != what.npos) what.remove_prefix(colon + 2);
    } else if (const auto bracket = what.find("] "); bracket != what.npos) {
      what.remove_prefix(bracket + 2);
    }
    const bool at_end = what.find("unexpected end of input") != what.npos;
    fail_at(text_, at_end ? text_.size() : std::max<std::size_t>(position, 1) - 1, source_, what);
  }

 private:
  struct Frame {
    bool object;
    std::vector<std::pair<std::string, Json>> members;
    std::vector<std::size_t> offsets;  ///< of the end of each key
    Json::array_t items;
  };

  std::size_t offset() const { return static_cast<std::size_t>(seen_ - text_.data()); }

  Frame pop() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    return frame;
  }

  void count() {
    if (++values_ > limits_.values) {
      fail_at(text_, offset(), source_, fmt::format("more than {} values", limits_.values));
    }
  }

  bool open(bool object) {
    count();
    if (stack_.size() >= limits_.depth) {
      fail_at(text_, offset() - 1, source_,
              fmt::format("nesting deeper than {} levels", limits_.depth));
    }
    stack_.push_back(Frame{object, {}, {}, {}});
    return true;
  }

  template <typename T>
  bool add(T&& value) {
    count();
    place(Json(std::forward<T>(value)));
    return true;
  }

  void place(Json&& value) {
    if (stack_.empty()) {
      root_ = std::move(value);
    } else if (stack_.back().object) {
      stack_.back().members.back().second = std::move(value);
    } else {
      stack_.back().items.push_back(std::move(value));
    }
  }

  /// By sorting, so that no choice of keys makes it slow.
  void check_duplicates(const Frame& frame) const {
    const auto& members = frame.members;
    std::vector<std::size_t> order(members.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      const int way = members[a].first.compare(members[b].first);
      return way != 0 ? way < 0 : a < b;
    });
    std::size_t second = members.size();
    for (std::size_t i = 1; i < order.size(); ++i) {
      if (members[order[i]].first == members[order[i - 1]].first) {
        second = std::min(second, order[i]);
      }
    }
    if (second == members.size()) return;
    fail_at(text_, key_start(frame.offsets[second]), source_,
            fmt::format("duplicate key '{}'", printable(members[second].first)));
  }

  /// Offset of the opening quote of the key whose closing quote stands before `end`.
  std::size_t key_start(std::size_t end) const {
    std::size_t at = end < 2 ? 0 : end - 2;
    while (at > 0) {
      std::size_t escapes = 0;
      while (escapes < at && text_[at - 1 - escapes] == '\\') ++escapes;
      if (text_[at] == '"' && escapes % 2 == 0) break;
      --at;
    }
    return at;
  }

  std::string_view text_;
  std::string_view source_;
  JsonLimits limits_;
  const char* seen_;
  std::uint64_t values_ = 0;
  std::vector<Frame> stack_;
  Json root_;
};

}  // namespace

Json parse_json(std::string_view text, std::string_view source, JsonLimits limits) {
  if (const auto bad = find_invalid_utf8(text)) fail_at(text, *bad, source, "invalid UTF-8");
  if (const auto nul = text.find('\0'); nul != text.npos) fail_at(text, nul, source, "a NUL byte");
  if (text.empty()) fail_at(text, 0, source, "the document is empty");
  Builder builder(text, source, limits);
  const Cursor begin{text.data(), builder.seen()};
  const Cursor end{text.data() + text.size(), nullptr};
  if (!Json::sax_parse(begin, end, &builder)) {
    fail_at(text, 0, source, "not a JSON document");
  }
  return builder.take();
}

Json read_json(const fs::path& path, std::uint64_t byte_limit) {
  return parse_json(read_file(path, byte_limit), path.string());
}

}  // namespace lancet

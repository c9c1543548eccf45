#include "core/yaml.h"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr std::size_t kMaxBytes = 16U << 20;
constexpr std::size_t kMaxDepth = 64;
constexpr std::uint64_t kMaxExpanded = 1U << 20;  ///< nodes (long scalars count more) from anchors

[[noreturn]] void fail_at(std::string_view source, int line, int column, std::string_view what) {
  fail(ErrorKind::kUsage, "yaml",
       fmt::format("{}:{}:{}: {}", printable(source), line, column, printable(what, 240)));
}

/// The text with its name, and where yaml-cpp's marks (line and byte, from 0) lie in it.
class Source {
 public:
  Source(std::string_view text, std::string_view name) : text_(text), name_(name) {
    constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
    lines_.push_back(text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0);
    for (std::size_t at = text.find('\n'); at != text.npos; at = text.find('\n', at + 1)) {
      lines_.push_back(at + 1);
    }
  }

  /// The text from a mark on.
  std::string_view from(const YAML::Mark& mark) const {
    if (mark.line < 0 || static_cast<std::size_t>(mark.line) >= lines_.size()) return {};
    const std::size_t start = lines_[static_cast<std::size_t>(mark.line)];
    return text_.substr(std::min(text_.size(), start + static_cast<std::size_t>(mark.column)));
  }

  /// 1-based, in characters.
  int column(const YAML::Mark& mark) const {
    YAML::Mark first = mark;
    first.column = 0;
    const std::string_view line = from(first);
    const auto bytes = std::min(line.size(), static_cast<std::size_t>(std::max(0, mark.column)));
    return 1 + static_cast<int>(std::count_if(line.begin(), line.begin() + bytes, [](char c) {
             return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
           }));
  }

  [[noreturn]] void fail(const YAML::Mark& mark, std::string_view what) const {
    fail_at(name_, mark.line + 1, column(mark), what);
  }
  [[noreturn]] void fail(const Node& node, std::string_view what) const {
    fail_at(name_, node.line, node.column, what);
  }

 private:
  std::string_view text_;
  std::string_view name_;
  std::vector<std::size_t> lines_;
};

/// True if the quoted scalar that starts here (perhaps after an anchor) has its closing quote:
/// yaml-cpp takes the end of the text for one.
bool is_closed(std::string_view text) {
  while (text.starts_with('&') || text.starts_with('!')) {
    text.remove_prefix(std::min(text.size(), text.find_first_of(" \t\r\n")));
    text.remove_prefix(std::min(text.size(), text.find_first_not_of(" \t\r\n")));
  }
  if (!text.starts_with('"') && !text.starts_with('\'')) return true;
  const char quote = text.front();
  for (std::size_t at = 1; at < text.size(); ++at) {
    if (quote == '"' && text[at] == '\\') {
      ++at;
    } else if (text[at] == quote) {
      if (quote == '"' || at + 1 == text.size() || text[at + 1] != quote) return true;
      ++at;
    }
  }
  return false;
}

std::uint64_t weight(const Node& node) {
  std::uint64_t sum = 1 + node.scalar.size() / 64;
  for (const Node& item : node.items) sum += weight(item);
  for (const auto& [key, value] : node.entries) sum += weight(key) + weight(value);
  return sum;
}

/// Builds one document from yaml-cpp's events. Copies made for anchors are bounded by kMaxExpanded.
class Builder : public YAML::EventHandler {
 public:
  Builder(const Source& source, bool first) : source_(source), first_(first) {}

  Node take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (first_ || (mark.column == 0 && source_.from(mark).starts_with("---"))) return;
    source_.fail(mark, "text after the end of the document");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    place(make(Node::Kind::kNull, mark), anchor);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check_tag(mark, tag);
    Node node = make(Node::Kind::kScalar, mark);
    node.scalar = value;
    node.quoted = tag == "!";
    if (node.quoted && !is_closed(source_.from(mark)))
      source_.fail(mark, "the quote is not closed");
    place(std::move(node), anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) source_.fail(mark, "an alias inside its own anchor");
    charge(found->second, make(Node::Kind::kNull, mark));
    place(Node(found->second), 0);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Node::Kind::kSequence, mark, tag, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Node::Kind::kMapping, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override {
    merge_entries(stack_.back());
    close();
  }

 private:
  struct Frame {
    Node node;
    YAML::anchor_t anchor = 0;
    std::optional<Node> key;     ///< read, its value still to come
    std::set<std::string> keys;  ///< of a mapping
    std::vector<Node> merged;    ///< mappings named by `<<`
  };

  Node make(Node::Kind kind, const YAML::Mark& mark) const {
    Node node;
    node.kind = kind;
    node.line = mark.line + 1;
    node.column = source_.column(mark);
    return node;
  }

  void check_tag(const YAML::Mark& mark, const std::string& tag) const {
    if (!tag.empty() && tag != "?" && tag != "!") {
      source_.fail(mark, fmt::format("tags are not supported (found '{}')", tag));
    }
  }

  void charge(const Node& copied, const Node& place) {
    expanded_ += weight(copied);
    if (expanded_ > kMaxExpanded) source_.fail(place, "anchors expand to too much text");
  }

  void open(Node::Kind kind, const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor) {
    check_tag(mark, tag);
    if (stack_.size() >= kMaxDepth) {
      source_.fail(mark, fmt::format("nesting deeper than {} levels", kMaxDepth));
    }
    Frame frame;
    frame.node = make(kind, mark);
    frame.anchor = anchor;
    stack_.push_back(std::move(frame));
  }

  void close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    place(std::move(frame.node), frame.anchor);
  }

  void place(Node&& node, YAML::anchor_t anchor) {
    if (anchor != 0) {
      charge(node, node);
      anchors_[anchor] = node;
    }
    if (stack_.empty()) {
      root_ = std::move(node);
    } else if (Frame& top = stack_.back(); top.node.kind == Node::Kind::kSequence) {
      top.node.items.push_back(std::move(node));
    } else if (!top.key) {
      if (node.kind != Node::Kind::kScalar) source_.fail(node, "a key must be text");
      if (!top.keys.insert(node.scalar).second) {
        source_.fail(node, fmt::format("duplicate key '{}'", printable(node.scalar)));
      }
      top.key = std::move(node);
    } else {
      place_value(top, std::move(node));
    }
  }

  void place_value(Frame& top, Node&& value) {
    Node key = std::move(*top.key);
    top.key.reset();
    if (key.scalar != "<<" || key.quoted) {
      top.node.entries.emplace_back(std::move(key), std::move(value));
      return;
    }
    std::vector<Node> sources;
    if (value.kind == Node::Kind::kSequence) {
      sources = std::move(value.items);
    } else {
      sources.push_back(std::move(value));
    }
    for (Node& source : sources) {
      if (source.kind != Node::Kind::kMapping) source_.fail(key, "'<<' merges mappings only");
      top.merged.push_back(std::move(source));
    }
  }

  /// Entries of `<<` that the mapping does not set itself; of several sources the first wins.
  static void merge_entries(Frame& frame) {
    for (Node& source : frame.merged) {
      for (auto& entry : source.entries) {
        if (frame.keys.insert(entry.first.scalar).second) {
          frame.node.entries.push_back(std::move(entry));
        }
      }
    }
  }

  const Source& source_;
  bool first_;
  Node root_;
  std::vector<Frame> stack_;
  std::map<YAML::anchor_t, Node> anchors_;
  std::uint64_t expanded_ = 0;
};

/// Throws unless the text is UTF-8 of moderate size without control characters.
void check_text(std::string_view text, std::string_view source) {
  if (text.size() > kMaxBytes) {
    fail(ErrorKind::kUsage, "yaml",
         fmt::format("{}: {} bytes, at most {} are read", printable(source), text.size(),
                     kMaxBytes));
  }
  auto bad = find_invalid_utf8(text).value_or(text.npos);
  const auto control = std::find_if(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\n' && c != '\t' && c != '\r') || byte == 0x7F;
  });
  bad = std::min(bad, static_cast<std::size_t>(control - text.begin()));
  if (bad >= text.size()) return;
  const std::string_view before = text.substr(0, bad);
  const auto line = std::count(before.begin(), before.end(), '\n');
  const auto column = bad - (before.rfind('\n') + 1);
  fail_at(source, static_cast<int>(line + 1), static_cast<int>(column + 1),
          "a control character or invalid UTF-8");
}

}  // namespace

std::vector<Node> parse_yaml(std::string_view text, std::string_view source) {
  check_text(text, source);
  const Source lines(text, source);
  std::istringstream stream{std::string(text)};
  std::vector<Node> documents;
  try {
    YAML::Parser parser(stream);
    while (true) {
      Builder builder(lines, documents.empty());
      if (!parser.HandleNextDocument(builder)) return documents;
      documents.push_back(builder.take());
    }
  } catch (const YAML::Exception& error) {
    lines.fail(error.mark, error.msg);
  }
}

}  // namespace lancet

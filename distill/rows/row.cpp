#include "distill/rows/row.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/containers/json_cursor.h"

namespace lancet {
namespace {

constexpr int kDepth = 64;
constexpr std::string_view kOperation = "curate";

bool is_response(std::string_view role) {
  return role == "assistant" || role == "chosen" || role == "text";
}

[[noreturn]] void fail_row(std::string_view where, const std::string& message) {
  fail(ErrorKind::kInput, kOperation, fmt::format("{}: {}", where, message));
}

/// Text of a message's content: a string, null, or parts of which those of type text count.
std::string content_of(const Json& value, std::string_view where, std::string_view key) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_null()) return {};
  if (!value.is_array())
    fail_row(where, fmt::format("{}: expected a string, null or a list of parts", key));
  std::string text;
  for (const Json& part : value) {
    if (part.is_object() && part.contains("text") && part["text"].is_string())
      text += part["text"].get<std::string>();
  }
  return text;
}

class Reader {
 public:
  Reader(Row& row, std::string_view where) : row_(row), where_(where) {}

  void read() {
    JsonCursor cursor(row_.raw, kOperation, where_);
    cursor.open_object("a row");
    Row::Member member;
    for (bool first = true; next_member(cursor, first, member); first = false) {
      for (const Row::Member& other : row_.members) {
        if (other.key == member.key)
          fail_row(where_, fmt::format("key '{}' occurs twice", printable(member.key, 40)));
      }
      row_.members.push_back(member);
    }
    cursor.finish();
    find_kind();
    if (const auto* id = row_.find("id")) {
      const Json value = parse(*id);
      if (value.is_string() || value.is_number())
        row_.id = value.is_string() ? value.get<std::string>() : value.dump();
    }
  }

 private:
  Row& row_;
  std::string_view where_;

  bool next_member(JsonCursor& cursor, bool first, Row::Member& member) {
    if (!cursor.next_key(first, member.key)) return false;
    (void)cursor.at('"');  // over the blanks before the value
    const std::size_t begin = cursor.offset();
    cursor.skip_value(kDepth);
    member.value = row_.raw.substr(begin, cursor.offset() - begin);
    // The key begins at its quote, which may be written with escapes: found from the left.
    const std::size_t after =
        row_.members.empty()
            ? 0
            : static_cast<std::size_t>(row_.members.back().value.data() - row_.raw.data()) +
                  row_.members.back().value.size();
    const std::size_t quote = row_.raw.find('"', after);
    member.text = row_.raw.substr(quote, cursor.offset() - quote);
    return true;
  }

  [[nodiscard]] Json parse(const Row::Member& member) const {
    return parse_json(member.value, fmt::format("{}: {}", where_, printable(member.key, 40)));
  }

  /// A string member, read without building a document.
  [[nodiscard]] std::string string_of(const Row::Member& member) const {
    if (!member.value.starts_with('"')) return content_of(parse(member), where_, member.key);
    JsonCursor cursor(member.value, kOperation, where_);
    return cursor.string(member.key, member.value.size());
  }

  void find_kind() {
    const auto* messages = row_.find("messages");
    const auto* prompt = row_.find("prompt");
    const auto* completion = row_.find("completion");
    const auto* chosen = row_.find("chosen");
    const auto* rejected = row_.find("rejected");
    const auto* text = row_.find("text");
    if (chosen != nullptr && rejected != nullptr) {
      row_.kind = RowKind::kPreference;
      if (prompt != nullptr) add(*prompt, "user");
      add(*chosen, "chosen");
      add(*rejected, "rejected");
    } else if (messages != nullptr) {
      row_.kind = RowKind::kMessages;
      add_messages(*messages);
    } else if (prompt != nullptr && completion != nullptr) {
      row_.kind = RowKind::kPromptCompletion;
      add(*prompt, "user");
      add(*completion, "assistant");
    } else if (text != nullptr) {
      row_.kind = RowKind::kText;
      add(*text, "text");
    }
  }

  /// A string, or a list of messages whose contents are joined.
  void add(const Row::Member& member, const char* role) {
    if (!member.value.starts_with('[')) {
      row_.turns.push_back({role, string_of(member)});
      return;
    }
    std::string joined;
    for (const Json& message : parse(member)) {
      if (!message.is_object() || !message.contains("content"))
        fail_row(where_, fmt::format("{}: expected messages with 'content'", member.key));
      if (!joined.empty()) joined += '\n';
      joined += content_of(message["content"], where_, member.key);
    }
    row_.turns.push_back({role, std::move(joined)});
  }

  void add_messages(const Row::Member& member) {
    if (!member.value.starts_with('[')) fail_row(where_, "messages: expected a list");
    JsonCursor cursor(member.value, kOperation, where_);
    cursor.open_array("messages");
    for (bool first = true; cursor.next_element(first); first = false) {
      RowTurn turn;
      bool role = false;
      cursor.open_object("a message");
      std::string key;
      for (bool start = true; cursor.next_key(start, key); start = false) {
        if (key == "role" && cursor.at('"')) {
          turn.role = cursor.string("role", 1 << 20);
          role = true;
        } else if (key == "content" && cursor.at('"')) {
          turn.content = cursor.string("content", member.value.size());
        } else {
          const bool content = key == "content";
          (void)cursor.at('"');
          const std::size_t begin = cursor.offset();
          cursor.skip_value(kDepth);
          if (content)
            turn.content =
                content_of(parse_json(member.value.substr(begin, cursor.offset() - begin), where_),
                           where_, "content");
        }
      }
      if (!role) fail_row(where_, "messages: expected a string 'role' in every message");
      row_.turns.push_back(std::move(turn));
    }
  }
};

}  // namespace

std::string_view row_kind_name(RowKind kind) noexcept {
  constexpr std::string_view kNames[] = {"messages", "prompt_completion", "preference", "text",
                                         "unknown"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::string Row::text(RowPart part) const {
  std::string out;
  bool first = true;
  for (const RowTurn& turn : turns) {
    if (part != RowPart::kAll && is_response(turn.role) != (part == RowPart::kResponse)) continue;
    if (part == RowPart::kPrompt && turn.role == "rejected") continue;
    if (!first) out += '\n';
    first = false;
    out += turn.content;
  }
  return out;
}

const Row::Member* Row::find(std::string_view key) const noexcept {
  const auto found = std::find_if(members.begin(), members.end(),
                                  [&](const Member& member) { return member.key == key; });
  return found == members.end() ? nullptr : &*found;
}

Json Row::value(std::string_view path) const {
  std::size_t dot = std::min(path.find('.'), path.size());
  const Member* member = find(path.substr(0, dot));
  if (member == nullptr) return {};
  Json json = parse_json(member->value, path);
  while (dot < path.size()) {
    path.remove_prefix(dot + 1);
    dot = std::min(path.find('.'), path.size());
    const std::string key(path.substr(0, dot));
    if (!json.is_object() || !json.contains(key)) return {};
    Json inner = json[key];
    json = std::move(inner);
  }
  return json;
}

Row parse_row(std::string_view raw, std::string_view where) {
  if (const auto bad = find_invalid_utf8(raw))
    fail_row(where, fmt::format("invalid UTF-8 at byte {}", *bad));
  Row row;
  row.raw = raw;
  Reader(row, where).read();
  return row;
}

std::string row_text(const Row& row, const Json& provenance) {
  std::string out = "{";
  for (const Row::Member& member : row.members) {
    if (member.key == "provenance") continue;
    if (out.size() > 1) out += ", ";
    out += member.text;
  }
  if (out.size() > 1) out += ", ";
  return out + "\"provenance\": " + dump_json(provenance) + "}";
}

}  // namespace lancet

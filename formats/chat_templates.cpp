#include "formats/chat_templates.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "core/log.h"
#include "core/text.h"
#include "formats/containers/sharded.h"

namespace lancet {
namespace {

constexpr std::string_view kDefaultFile = "chat_template.jinja";
constexpr std::string_view kExtension = ".jinja";
constexpr std::string_view kGgufKey = "tokenizer.chat_template";
constexpr std::size_t kMaxName = 64;
constexpr std::size_t kMaxTemplates = 64;
constexpr std::uint64_t kMaxTemplateFile = 1ULL << 20;  ///< what the engine takes

bool is_letter(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxName && is_letter(name.front()) &&
         std::ranges::all_of(name, [](char c) { return is_letter(c) || c == '-' || c == '.'; });
}

/// "chat_template" of tokenizer_config.json.
ChatTemplates in_config(const Json& config) {
  ChatTemplates out;
  const auto found = config.is_object() ? config.find("chat_template") : config.end();
  if (found == config.end()) return out;
  const auto add = [&](const Json& name, const Json& text) {
    if (name.is_string() && text.is_string())
      out.insert_or_assign(name.get<std::string>(), text.get<std::string>());
  };
  add(kDefaultTemplate, *found);
  if (found->is_object()) {
    for (const auto& [name, text] : found->items()) add(name, text);
  }
  if (!found->is_array()) return out;
  for (const Json& entry : *found) {
    if (entry.is_object()) add(entry.value("name", Json()), entry.value("template", Json()));
  }
  return out;
}

void leave_out(const fs::path& file, std::string_view why) {
  log::warn(
      fmt::format("{}: this chat template is left out: {}", printable(file.string(), 400), why));
}

}  // namespace

std::optional<std::string> template_name(std::string_view side_file) {
  if (!side_file.starts_with(kTemplateFolder) || !side_file.ends_with(kExtension))
    return std::nullopt;
  side_file.remove_prefix(kTemplateFolder.size());
  if (!side_file.starts_with('/') || side_file.size() < kExtension.size() + 1) return std::nullopt;
  const auto name = side_file.substr(1, side_file.size() - 1 - kExtension.size());
  return is_name(name) ? std::optional<std::string>(name) : std::nullopt;
}

std::optional<std::string> template_file(std::string_view name) {
  if (name == kDefaultTemplate) return std::string(kDefaultFile);
  if (!is_name(name)) return std::nullopt;
  return fmt::format("{}/{}{}", kTemplateFolder, name, kExtension);
}

std::map<std::string, std::string> read_template_folder(const fs::path& directory) {
  std::map<std::string, std::string> out;
  const fs::path folder = directory / kTemplateFolder;
  std::error_code error;
  if (!fs::is_directory(folder, error)) return out;
  if (fs::is_symlink(folder, error)) {
    leave_out(folder, "a link to another folder");
    return out;
  }
  std::vector<std::string> files;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::string name = it->path().filename().string();
    if (name.ends_with(kExtension)) files.push_back(std::move(name));
  }
  std::ranges::sort(files);
  for (const std::string& file : files) {
    const std::string name = fmt::format("{}/{}", kTemplateFolder, file);
    const std::uint64_t size = fs::file_size(folder / file, error);
    if (!template_name(name)) {
      leave_out(folder / file, "expected a name of letters, digits, '.', '_' and '-'");
    } else if (!error && size > kMaxTemplateFile) {
      leave_out(folder / file, fmt::format("{}, at most 1 MiB is read", human_bytes(size)));
    } else if (out.size() == kMaxTemplates) {
      leave_out(folder / file, fmt::format("there are more than {}", kMaxTemplates));
    } else {
      out.emplace(name, read_file(resolve_link(folder / file, directory), kMaxTemplateFile));
    }
  }
  return out;
}

ChatTemplates chat_templates(const std::map<std::string, std::string>& side_files) {
  ChatTemplates out;
  for (const auto& [file, text] : side_files) {
    if (const auto name = template_name(file)) out.emplace(*name, text);
  }
  if (const auto file = side_files.find(std::string(kDefaultFile)); file != side_files.end())
    out.insert_or_assign(std::string(kDefaultTemplate), file->second);
  const auto config = side_files.find("tokenizer_config.json");
  if (!out.empty() || config == side_files.end()) return out;
  return in_config(parse_json(config->second, "tokenizer_config.json"));
}

ChatTemplates chat_templates(const GgufHeader& header) {
  ChatTemplates out;
  if (header.find(kGgufKey) != nullptr)
    out.emplace(kDefaultTemplate, header.string(std::string(kGgufKey)));
  for (const auto& [key, value] : header.metadata) {
    if (!key.starts_with(kGgufKey) || key.size() < kGgufKey.size() + 2) continue;
    if (key[kGgufKey.size()] == '.')
      out.emplace(key.substr(kGgufKey.size() + 1), header.string(key));
  }
  return out;
}

ChatTemplates chat_templates(const ModelSource& source) {
  const Checkpoint& checkpoint = source.checkpoint();
  if (const GgufHeader* header = checkpoint.gguf()) return chat_templates(*header);
  if (checkpoint.weights_alone()) return {};
  auto files = read_template_folder(checkpoint.path());
  for (const std::string_view name : {kDefaultFile, std::string_view("tokenizer_config.json")}) {
    if (auto text = checkpoint.side_file(name)) files.emplace(name, std::move(*text));
  }
  return chat_templates(files);
}

}  // namespace lancet

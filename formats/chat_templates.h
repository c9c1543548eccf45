#pragma once
// The chat templates of a model by name, wherever its form keeps them: chat_template.jinja and
// additional_chat_templates/NAME.jinja, "chat_template" of tokenizer_config.json (text, a list of
// {name, template}, an object by name), tokenizer.chat_template and tokenizer.chat_template.NAME of
// a GGUF.

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "formats/model_source.h"

namespace lancet {

constexpr std::string_view kDefaultTemplate = "default";
constexpr std::string_view kToolTemplate = "tool_use";  ///< taken where a conversation has tools
constexpr std::string_view kTemplateFolder = "additional_chat_templates";

using ChatTemplates = std::map<std::string, std::string, std::less<>>;

/// NAME of the side file "additional_chat_templates/NAME.jinja"; nothing for other files, and for a
/// NAME that is not 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-' beginning with none of the last two
/// signs.
[[nodiscard]] std::optional<std::string> template_name(std::string_view side_file);
/// The side file of a template; nothing where template_name() would not read its name again.
[[nodiscard]] std::optional<std::string> template_file(std::string_view name);

/// Side files of the folder of templates, links only within the directory. Warns of what it leaves
/// out: other names, files over 1 MiB, more than 64.
[[nodiscard]] std::map<std::string, std::string> read_template_folder(const fs::path& directory);

/// Of a directory's side files, as transformers takes them: files stand before
/// tokenizer_config.json. Errors: kInput for a tokenizer_config.json that is no JSON.
[[nodiscard]] ChatTemplates chat_templates(const std::map<std::string, std::string>& side_files);
[[nodiscard]] ChatTemplates chat_templates(const GgufHeader& header);
[[nodiscard]] ChatTemplates chat_templates(const ModelSource& source);

}  // namespace lancet

// graft_config of merge/graft.h.
#include "merge/graft.h"
#include "merge/token_ids.h"

namespace lancet {

void graft_config(std::map<std::string, std::string>& files, const ModelSource& donor,
                  const TokenTable& model_tokens, const TokenTable& donor_tokens, std::int64_t rows,
                  std::vector<std::string>& warnings) {
  const auto theirs = donor.side_files();
  TokenIds ids{.config = side_json(theirs, "config.json", donor_tokens.label()),
               .generation = side_json(theirs, "generation_config.json", donor_tokens.label()),
               .roles = {},
               .label = donor_tokens.label(),
               .moved = {}};
  ids.roles.insert(donor_tokens.roles().begin(), donor_tokens.roles().end());
  ids.moved = [&](std::int64_t old) -> std::optional<std::int64_t> {
    if (old < 0 || old >= static_cast<std::int64_t>(model_tokens.tokens().size())) return {};
    const std::string& piece = model_tokens.tokens()[static_cast<std::size_t>(old)].piece;
    return piece.empty() ? std::nullopt : donor_tokens.find_piece(piece);
  };
  Json config = side_json(files, "config.json", model_tokens.label());
  Json generation = side_json(files, "generation_config.json", model_tokens.label());
  config["vocab_size"] = rows;
  set_token_ids(config, generation, ids, warnings);
  files["config.json"] = dump_json(config, 2) + "\n";
  if (generation.is_object()) files["generation_config.json"] = dump_json(generation, 2) + "\n";
}

}  // namespace lancet

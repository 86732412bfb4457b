// LoadTokenizer: which kind of file a path is, or a directory has.
#include <filesystem>
#include <fstream>

#include "gateway/text/tokenizer/tokenizer.h"
#include "gateway/text/tokenizer/tokenizer_files.h"

namespace shardline {

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) return NotFound(path, ": does not exist");
  if (std::filesystem::is_directory(status)) return TokenizerFromDirectory(path);
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof(magic));
  if (std::string_view(magic, sizeof(magic)) == "GGUF") {
    SL_ASSIGN_OR_RETURN(const std::unique_ptr<GgufFile> file, GgufFile::Open(path));
    return TokenizerFromGguf(*file);
  }
  if (path.ends_with(".model")) return TokenizerFromModelFile(path);
  return TokenizerFromJsonFile(path);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerFromDirectory(const std::string& directory) {
  for (const char* name : {"tokenizer.json", "tokenizer.model", "spiece.model"}) {
    const std::string path = (std::filesystem::path(directory) / name).string();
    std::error_code error;
    if (!std::filesystem::exists(std::filesystem::symlink_status(path, error))) continue;
    auto tokenizer =
        path.ends_with(".model") ? TokenizerFromModelFile(path) : TokenizerFromJsonFile(path);
    // A link to nowhere is not the same as no file.
    if (absl::IsNotFound(tokenizer.status())) return InvalidArgument(Message(tokenizer.status()));
    return tokenizer;
  }
  return NotFound(directory, ": has no tokenizer.json, tokenizer.model or spiece.model");
}

}  // namespace shardline

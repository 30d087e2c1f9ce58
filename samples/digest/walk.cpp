#include "walk.hpp"

#include <algorithm>
#include <ranges>
#include <utility>

namespace digest {

namespace fs = std::filesystem;

walk::walk(const std::vector<std::string>& roots)
{
    std::error_code ignored;  // a root that is not there is met, and whoever opens it is told why
    for (const std::string& root : roots)
        add(root, fs::is_directory(root, ignored));
}

bool walk::comes_after(const entry& a, const entry& b) noexcept
{
    return a.path > b.path;
}

void walk::add(std::string path, bool is_directory)
{
    if (is_directory && !path.ends_with('/'))
        path += '/';
    heap_.push_back({std::move(path), is_directory});
    std::ranges::push_heap(heap_, comes_after);
}

walk::entry walk::take_first()
{
    std::ranges::pop_heap(heap_, comes_after);
    entry first = std::move(heap_.back());
    heap_.pop_back();
    return first;
}

bool walk::ended() const noexcept
{
    return heap_.empty() && next_ == directory_iterator{};
}

std::vector<found> walk::some()
{
    std::vector<found> met;
    for (int steps = 0; steps < 1024 && !ended(); ++steps)
        step(met);
    return met;
}

void walk::step(std::vector<found>& met)
{
    if (next_ != directory_iterator{}) {
        read_entry(met);
        return;
    }
    entry first = take_first();
    if (first.is_directory)
        open_directory(std::move(first.path), met);
    else
        met.push_back({std::move(first.path), {}});
}

void walk::open_directory(std::string path, std::vector<found>& met)
{
    std::error_code error;
    next_ = directory_iterator{path, error};
    directory_ = std::move(path);
    if (error)
        met.push_back({name_of_directory(), error});
}

void walk::read_entry(std::vector<found>& met)
{
    // Mostly the directory itself tells the type; what vanishes before it can be asked for is passed over.
    std::error_code error;
    if (!next_->is_symlink(error)) {
        const bool is_directory = next_->is_directory(error);
        if (is_directory || next_->is_regular_file(error))
            add(directory_ + next_->path().filename().native(), is_directory);
    }
    next_.increment(error);
    if (error)
        met.push_back({name_of_directory(), error});
}

std::string walk::name_of_directory() const
{
    return directory_.size() == 1 ? directory_ : directory_.substr(0, directory_.size() - 1);
}

}  // namespace digest

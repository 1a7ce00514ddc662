"""What a prepared dataset holds, in numbers and on one page; knows no network and no training."""
